"""What runs inside each engine's own process: load, one unmeasured run, one measured run, write the result."""
