"""Growth by the mixed model at full size; prints the tables that docs/models.md cites."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.prove.glmm import Truth, body, estimates, simulate
from tests.r.conftest import r_status, require_r
from tests.r.rservice import RService

__all__ = ["r_status", "require_r"]  # fixtures of this module too

COHORTS = 50
SIZE = {"learners": 250, "weeks": 10, "a_week": 4, "items": 150, "topics": 30}
#: Learners, weeks and answers a week whose power the table states.
POWER = [(50, 4, 5), (50, 12, 5), (200, 4, 5), (200, 12, 5), (1000, 4, 5), (1000, 12, 5)]
POWER_COHORTS = 4


@pytest.fixture(scope="module")
def service(require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    library = require_r("glmm")
    log = tmp_path_factory.mktemp("glmm") / "log"
    with RService(["Rscript", "-e", "irtglmm::serve()"], library, log) as running:
        yield running


def fit(service: RService, rows: pd.DataFrame, *without: str) -> dict[str, float]:
    job = service.wait(service.submit("/glmm/fit", body(rows, *without)), seconds=1800)
    assert job["state"] == "succeeded", job["error"]
    return estimates(job["result"]) | {"slope_se": job["result"]["fixed"]["se"][1]}


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_growth_and_spread_are_recovered_where_items_are_routed(
    service: RService, capsys: pytest.CaptureFixture[str]
) -> None:
    """A biased slope would report growth that is not there; too small an sd would call unlike learners alike."""
    truth = Truth()
    cohorts = (simulate(truth, np.random.default_rng(seed), **SIZE) for seed in range(COHORTS))
    found = pd.DataFrame([fit(service, rows, "item") for rows in cohorts]).drop(columns="sd_item")
    planted = pd.Series({name: getattr(truth, name) for name in found.columns.drop("slope_se").astype(str)})
    table = pd.DataFrame(
        {
            "planted": planted,
            "mean": found[planted.index].mean(),
            "error": found[planted.index].std() / np.sqrt(COHORTS),
        }
    )
    table["bias_in_errors"] = (table["mean"] - table["planted"]) / table["error"]
    covered = ((found["slope"] - truth.slope).abs() < 1.96 * found["slope_se"]).mean()
    with capsys.disabled():
        print(f"\n{table.round(4).to_string()}\n95 % intervals of the slope that hold it: {covered:.0%}")  # noqa: T201
    assert (table.loc[["intercept", "slope"], "bias_in_errors"].abs() < 2).all()
    sds = table.filter(like="sd_", axis=0)
    assert (sds["mean"] / sds["planted"]).between(0.9, 1.1).all()
    assert covered >= 0.86, "fewer than 43 of 50 intervals of 95 % hold the planted slope"


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_power(service: RService, capsys: pytest.CaptureFixture[str]) -> None:
    """How small a growth a cohort can show: without this a flat slope of 50 learners reads as 'no growth'."""
    rows = []
    for learners, weeks, a_week in POWER:
        size = {"learners": learners, "weeks": weeks, "a_week": a_week, "items": 150, "topics": 30}
        cohorts = (simulate(Truth(), np.random.default_rng(seed), **size) for seed in range(POWER_COHORTS))
        se = np.mean([fit(service, cohort, "item")["slope_se"] for cohort in cohorts])
        rows.append((learners, weeks, a_week, se, 2.8 * se))
    found = pd.DataFrame(rows, columns=["learners", "weeks", "answers_a_week", "se", "slope_found_in_80_percent"])
    with capsys.disabled():
        print("\n" + found.round(4).to_string(index=False))  # noqa: T201
    by_learners = found.pivot_table(index="learners", columns="weeks", values="se")
    assert (by_learners[4] > by_learners[12]).all()
    assert by_learners.apply(lambda se: se.is_monotonic_decreasing).all()
