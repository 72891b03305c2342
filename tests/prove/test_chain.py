"""A scale that is carried on for a month while its items are replaced, by the daily job's own steps, at full size."""

import click
import numpy as np
import pandas as pd
import pytest
from tests.prove.chain import Bank
from tests.prove.recovery import Coverage

REPLICATIONS, DAYS = 100, 30


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_a_month_of_new_items_leaves_the_scale_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """5 % of the items are new every day and as many retire, so that none of the first day's is left after twenty."""
    bank = Bank(items=100, new=5, retired=5, answers=1_000, answers_each=20)
    found = pd.concat([bank.month(DAYS, seed) for seed in range(REPLICATIONS)])
    table = found.groupby("day").agg({"B": rmse, "se_B": "mean", "chained_B": rmse, "drifted": "sum"})
    with capsys.disabled():
        click.echo("\n" + table.loc[[1, 5, 10, 20, DAYS]].round(4).to_string())
    last = found[found["day"] == DAYS]
    coverage = Coverage.of(last["B"], last["se_B"])
    with capsys.disabled():
        click.echo(f"intervals of B on day {DAYS} cover {coverage}")
    assert coverage.agrees()
    assert rmse(last["B"]) <= 0.03


def rmse(errors: "pd.Series[float]") -> float:
    """Root mean squared error."""
    return float(np.sqrt((errors**2).mean()))
