"""Growth between fortnights at full size; prints the table that docs/models.md cites."""

import pytest
from tests.prove.growth import table


@pytest.mark.prove
def test_error_and_spread_of_growth_are_recovered(capsys: pytest.CaptureFixture[str]) -> None:
    """Intervals of growth must cover, whether learners differ in it or not, from 5 answers a fortnight on."""
    found = table(replications=40, learners=1000)
    with capsys.disabled():
        print("\n" + found.round(3).to_string(index=False))  # noqa: T201
    assert found["raw_coverage"].between(0.93, 0.97).all()
    assert found.loc[found["answers"] >= 8, "squared_z"].between(0.85, 1.15).all()
    assert (found["coverage"] > 0.9).all()
