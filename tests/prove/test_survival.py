"""The churn model at full size, from answer logs to risks; prints the tables that docs/models.md cites."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.logs import query, run, write_log
from tests.prove.survival import Hazard, Returners, auc, scramble_learners, simulate_returners
from tests.r.conftest import r_status, require_r
from tests.r.test_survival import LAST_DAY, MATHS_DAY, forecast_service, meta_of, read_log, with_service

from irt_analytics.settings import Settings

__all__ = ["forecast_service", "r_status", "require_r", "with_service"]  # fixtures of this module too

LEARNERS = 3000
SEEDS = range(5)
HAZARDS = {
    "mixed": Hazard(),
    "alike": Hazard(own_sd=0.0),
    "unlike": Hazard(own_sd=0.6),
    "sluggish": Hazard(base=-2.5, sessions=1.0, away=0.5),
}
#: Learners and days of the log whose power the table states.
POWER = [(100, 70), (100, 160), (300, 70), (300, 160), (1000, 70), (1000, 160)]
POWER_SEEDS = range(6)
#: Days at whose end the maths log is judged once more, a school year before and after the lane's.
MATHS_DAYS = [date(2005, 1, 17) + timedelta(weeks=weeks) for weeks in (0, 4, 8, 12, 17, 54, 58, 62, 66)]

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


def fit(settings: Settings, log: pd.DataFrame, tenant: str, day: date = LAST_DAY) -> dict[str, Any]:
    """The survival_fit_meta row of a tenant with this log."""
    write_log(settings, log, tenant)
    assert run(settings, "fit_survival_churn", day, tenant=tenant) == 0
    return meta_of(settings, tenant)


def judge(settings: Settings, cohort: Returners, tenant: str) -> dict[str, float]:
    """What was found of a cohort's hazard."""
    meta = fit(settings, cohort.log, tenant)
    if meta["status"] == "skipped":
        return {"fitted": 0.0}
    evaluation = meta["evaluation"]
    risk = query(settings, "select risk from survival_risk where tenant_id = %s order by user_id", tenant)["risk"]
    found = {"fitted": 1.0, "risk_error": float(np.abs(risk.to_numpy() - cohort.at(0)["truth"].to_numpy()).mean())}
    if "auc" in evaluation:
        truth = pd.concat([cohort.at(landmark) for landmark in evaluation["landmarks"]])
        found |= {
            "evaluated": 1.0,
            "absent": evaluation["n_test_events"],
            "returned": evaluation["n_test"] - evaluation["n_test_events"],
            "slope": evaluation["calibration_slope"],
            "slope_se": (evaluation["calibration_slope_upper"] - evaluation["calibration_slope_lower"]) / 3.92,
            "auc": evaluation["auc"],
            "auc_se": (evaluation["auc_upper"] - evaluation["auc_lower"]) / 3.92,
            "auc_below_true": auc(truth["truth"].to_numpy(), truth["absent"].to_numpy()) - evaluation["auc"],
            "auc_over_days_since_last": evaluation["compared"]["days_since_last"]["auc_difference"],
        }
    return found


def show(capsys: pytest.CaptureFixture[str], table: "pd.DataFrame | pd.Series[Any]") -> None:
    with capsys.disabled():
        print(f"\n{table.round(3).to_string()}")  # noqa: T201


def test_known_hazards_are_found(with_service: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty cohorts, four kinds of hazard, none of them proportional: one lucky cohort proves nothing."""
    found = pd.DataFrame(
        [
            {"hazard": name}
            | judge(with_service, simulate_returners(LEARNERS, seed, LAST_DAY, hazard=hazard), f"{name} {seed}")
            for name, hazard in HAZARDS.items()
            for seed in SEEDS
        ]
    )
    by_hazard = found.groupby("hazard", sort=False)
    show(capsys, by_hazard.mean())
    show(capsys, by_hazard[["slope", "auc_below_true"]].agg(["min", "max"]))
    show(capsys, (found["slope"] - 1).abs().gt(0.1).groupby(found["hazard"], sort=False).agg(["sum", "size"]))
    assert (found[["absent", "returned"]] >= 1000).all(axis=None)
    assert by_hazard["slope"].mean().between(0.9, 1.1).all()
    assert (found["auc_below_true"].abs() <= 0.02).all()
    # The slopes scatter as their errors say, around a mean within 0.05 of 1.
    slopes = found["slope"].to_numpy()
    assert abs(slopes.mean() - 1) < 0.05
    assert np.std(slopes - by_hazard["slope"].transform("mean").to_numpy()) < 1.5 * found["slope_se"].to_numpy().mean()


def test_scrambled_learners_are_not_told_apart(with_service: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """An AUC above a half on logs in which no past tells of a future would be leakage."""
    rows = []
    for seed in SEEDS:
        cohort = simulate_returners(LEARNERS, seed, LAST_DAY)
        evaluation = fit(with_service, scramble_learners(cohort.log, LAST_DAY, seed), str(seed))["evaluation"]
        error = (evaluation["auc_upper"] - evaluation["auc_lower"]) / 3.92
        rows.append({"auc": evaluation["auc"], "error": error, "z": (evaluation["auc"] - 0.5) / error})
    found = pd.DataFrame(rows)
    show(capsys, found)
    assert (found["z"].abs() <= 3).all()


def test_power(with_service: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """How many learners and days an answer needs before it means something; docs/models.md states it."""
    rows = []
    for learners, days in POWER:
        cohorts = [simulate_returners(learners, seed, LAST_DAY, days=days) for seed in POWER_SEEDS]
        runs = pd.DataFrame(
            [judge(with_service, cohort, f"{learners} {days} {seed}") for seed, cohort in enumerate(cohorts)]
        )
        shares = runs.reindex(columns=["fitted", "evaluated"]).fillna(0.0).mean()
        means = runs.drop(columns=["fitted", "evaluated"], errors="ignore").mean()
        rows.append({"learners": learners, "days": days, **shares, **means})
    table = pd.DataFrame(rows).set_index(["learners", "days"])
    show(capsys, table)
    largest, small = POWER.index((1000, 160)), POWER.index((100, 160))
    assert table["risk_error"].iloc[largest] < table["risk_error"].iloc[small]
    assert table["auc_se"].iloc[largest] < 0.02


def test_maths_log_over_two_school_years(with_service: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the lane's day was a lucky one: the same log at other days, whose holidays differ."""
    write_log(with_service, read_log("middle_school_math_attempts.csv.gz"))
    rows = []
    for day in MATHS_DAYS:
        assert run(with_service, "fit_survival_churn", day) == 0
        evaluation = meta_of(with_service)["evaluation"]
        if day == MATHS_DAY:
            show(
                capsys, pd.Series({name: value for name, value in evaluation.items() if isinstance(value, int | float)})
            )
            show(capsys, pd.DataFrame(evaluation["compared"]).T)
        own = {name: evaluation[name] for name in ("auc", "auc_lower", "auc_upper", "brier", "calibration_slope")}
        rivals = {
            f"{measure} {name}": rival[measure]
            for name, rival in evaluation["compared"].items()
            for measure in ("auc", "brier")
        }
        rows.append({"as_of": day, "n": evaluation["n_test"], "absent": evaluation["mean_observed"]} | own | rivals)
    table = pd.DataFrame(rows).set_index("as_of")
    show(capsys, table.T)
    means = table.mean()
    show(capsys, means.to_frame("mean"))
    less = pd.DataFrame({name: table[name.split()[0]] - table[name] for name in map(str, table) if " " in name})
    show(capsys, pd.DataFrame({"model less rival": less.mean(), "error": less.sem(), "days above 0": (less > 0).sum()}))
    assert means["auc"] > means["auc inactive_7_days"]
    assert means["brier"] < means["brier inactive_7_days"]
