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
#: Learners, weeks and answers a week whose power the table states, and cohorts of that size.
POWER = [(50, 4, 5, 40), (50, 12, 5, 40), (200, 4, 5, 40), (200, 12, 5, 20), (1000, 4, 5, 10), (1000, 12, 5, 4)]


@pytest.fixture(scope="module")
def service(require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    library = require_r("glmm")
    log = tmp_path_factory.mktemp("glmm") / "log"
    with RService(["Rscript", "-e", "irtglmm::serve()"], library, log) as running:
        yield running


def fit(service: RService, rows: pd.DataFrame, *without: str) -> dict[str, float]:
    job = service.wait(service.submit("/glmm/fit", body(rows, *without)), seconds=1800)
    assert job["state"] == "succeeded", job["error"]
    result = job["result"]
    return estimates(result) | {"slope_se": result["fixed"]["se"][1], "converged": result["converged"]}


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_growth_and_spread_are_recovered_where_items_are_routed(
    service: RService, capsys: pytest.CaptureFixture[str]
) -> None:
    """A biased slope would report growth that is not there; too small an sd would call unlike learners alike."""
    truth = Truth()
    cohorts = (simulate(truth, np.random.default_rng(seed), **SIZE) for seed in range(COHORTS))
    found = pd.DataFrame([fit(service, rows, "item") for rows in cohorts]).drop(columns="sd_item")
    planted = pd.Series(
        {name: getattr(truth, name) for name in found.columns.drop(["slope_se", "converged"]).astype(str)}
    )
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
    assert found["converged"].all()
    assert covered >= 0.86, "fewer than 43 of 50 intervals of 95 % hold the planted slope"


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_little_growth_is_found_where_items_only_get_harder(
    service: RService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Falling shares of right answers are no loss of ability where the platform hands out harder items.

    Where items follow ability a little of it is left, for what a learner meets tells of the learner and the model does
    not know that; docs/models.md says how much.
    """
    truth = Truth(slope=0.0, hardening=3.0)
    harder = truth.hardening / (SIZE["weeks"] - 1)
    cohorts = [simulate(truth, np.random.default_rng(seed), **SIZE) for seed in range(20)]
    shares = np.mean([rows.groupby("week")["correct"].mean().iloc[[0, -1]] for rows in cohorts], axis=0)
    slope, blind = (
        np.array([fit(service, rows, *without)["slope"] for rows in some])
        for some, without in ((cohorts, ("item",)), (cohorts[:4], ("item", "offset")))
    )
    error = slope.std(ddof=1) / np.sqrt(len(slope))
    with capsys.disabled():
        print(f"\n{harder:.2f} harder a week; right {shares[0]:.2f}, in the last week {shares[1]:.2f}")  # noqa: T201
        print(f"slope {slope.mean():.4f}, error {error:.4f}; blind to items {blind.mean():.3f}")  # noqa: T201
    assert blind.mean() < -0.5 * harder
    assert abs(slope.mean()) < 0.05 * harder


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_power(service: RService, capsys: pytest.CaptureFixture[str]) -> None:
    """How small a growth a cohort can show: without this a flat slope of 50 learners reads as 'no growth'."""
    rows = []
    for learners, weeks, a_week, n in POWER:
        size = {"learners": learners, "weeks": weeks, "a_week": a_week, "items": 150, "topics": 30}
        noise = 4.5 / (weeks * a_week * (weeks**2 - 1) / 12)
        formula = np.sqrt((Truth().sd_slope ** 2 + noise) / learners)
        truth = Truth(slope=2.8 * formula)
        found = [fit(service, simulate(truth, np.random.default_rng(seed), **size), "item") for seed in range(n)]
        slope, se, converged = pd.DataFrame(found)[["slope", "slope_se", "converged"]].to_numpy(dtype=float).T
        rows.append(
            (learners, weeks, a_week, formula, np.nanmean(se), truth.slope, n, sum(slope > 1.96 * se), sum(converged))
        )
    columns = ["learners", "weeks", "answers_a_week", "formula", "se", "slope", "cohorts", "found", "converged"]
    table = pd.DataFrame(rows, columns=columns)
    with capsys.disabled():
        print("\n" + table.round(4).to_string(index=False))  # noqa: T201
    assert (table["se"] / table["formula"]).between(0.85, 1.15).all()
    cohorts, found_in = table["cohorts"].sum(), table["found"].sum()
    assert abs(found_in - 0.8 * cohorts) < 3 * np.sqrt(0.8 * 0.2 * cohorts)
