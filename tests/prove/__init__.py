"""Statistical proofs at full size (`make prove`); a reduced size of each runs with the unit tests."""
