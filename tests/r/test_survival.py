"""S, the probability of staying away: from the answer log through r-forecast-plumber to the tables."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from tests.integration.logs import at, attempt, last_run, query, rows_of, run, write_log
from tests.prove.survival import Hazard, Returners, auc, scramble_learners, simulate_returners
from tests.r.rservice import TOKEN, RService

from irt_analytics import db
from irt_analytics.jobs import fit_survival_churn
from irt_analytics.jobs.fit_survival_churn import COVARIATE_DAYS
from irt_analytics.params import RunParams
from irt_analytics.runner import JobContext, JobRecord
from irt_analytics.settings import Settings

DATA = Path(__file__).parents[2].parent / "shared" / "data"
LAST_DAY = date(2026, 3, 4)
MATHS_DAY = date(2005, 5, 16)


@pytest.fixture(scope="module")
def forecast_service(require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    library = require_r("forecast")
    log = tmp_path_factory.mktemp("r") / "forecast.log"
    with RService(["Rscript", "-e", "irtforecast::serve()"], library, log) as service:
        yield service


@pytest.fixture
def with_service(settings: Settings, forecast_service: RService) -> Settings:
    """Settings of a job that reaches the service."""
    return served(settings, forecast_service)


@pytest.fixture(scope="module")
def returners() -> Returners:
    return simulate_returners(3000, seed=1, last_day=LAST_DAY)


@pytest.fixture(scope="module")
def maths() -> pd.DataFrame:
    return read_log("middle_school_math_attempts.csv.gz")


def served(settings: Settings, service: RService) -> Settings:
    return settings.model_copy(update={"r_forecast_url": service.url, "r_forecast_token": SecretStr(TOKEN)})


def read_log(name: str) -> pd.DataFrame:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not on this machine")
    log = pd.read_csv(DATA / name, dtype={"student_id": str, "item_id": str, "topic_id": str, "session_id": str})
    log["completed_at"] = pd.to_datetime(log["completed_at"], utc=True)
    log["correct"] = log["correct"].astype(bool)
    return log[
        [name for name in log if name in ("student_id", "item_id", "topic_id", "session_id", "correct", "completed_at")]
    ]


def meta_of(settings: Settings, tenant: str = "default") -> dict[str, Any]:
    return dict(query(settings, "select * from survival_fit_meta where tenant_id = %s order by as_of", tenant).iloc[-1])


def midnight(day: date) -> pd.Timestamp:
    """End of a UTC day."""
    return pd.Timestamp(datetime(day.year, day.month, day.day, tzinfo=UTC)) + pd.Timedelta(days=1)


def test_known_hazard_is_found(with_service: Settings, returners: Returners) -> None:
    """Risks that rank or scale wrongly send teachers to the wrong learners."""
    write_log(with_service, returners.log)
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    evaluation = meta_of(with_service)["evaluation"]
    truth = pd.concat([returners.at(landmark) for landmark in evaluation["landmarks"]])
    absent = truth["absent"].to_numpy()
    assert (evaluation["n_test"], evaluation["n_test_events"]) == (len(truth), absent.sum())
    assert min(absent.sum(), (~absent).sum()) >= 1000
    assert 0.9 <= evaluation["calibration_slope"] <= 1.1
    assert abs(evaluation["auc"] - auc(truth["truth"].to_numpy(), absent)) <= 0.02
    assert evaluation["auc_lower"] < evaluation["auc"] < evaluation["auc_upper"]
    groups = pd.DataFrame(evaluation["calibration"])
    assert groups["n"].sum() == evaluation["n_test"]
    assert (groups["predicted"] - groups["observed"]).abs().max() < 0.07
    for rival in evaluation["compared"].values():
        assert rival["auc_difference_lower"] > 0 > rival["brier_difference_upper"]

    risk = rows_of(with_service, "survival_risk").set_index("user_id")
    now = returners.at(0).set_index("learner")
    assert risk.index.tolist() == [f"s{learner:05}" for learner in now.index]
    assert np.abs(risk["risk"].to_numpy() - now["truth"].to_numpy()).mean() < 0.05
    assert (risk["at_risk"] == (risk["risk"] >= 0.5)).all()
    assert risk["at_risk"].any()
    assert not risk["at_risk"].all()


def test_risk_needs_a_learners_own_past(with_service: Settings, returners: Returners) -> None:
    """An AUC above a half on a log in which no past tells of a future would be leakage."""
    write_log(with_service, scramble_learners(returners.log, LAST_DAY, seed=2))
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    evaluation = meta_of(with_service)["evaluation"]
    error = (evaluation["auc_upper"] - evaluation["auc_lower"]) / (2 * 1.96)
    assert abs(evaluation["auc"] - 0.5) <= 3 * error
    assert error < 0.02


def test_maths_log_beats_the_usual_rules(with_service: Settings, maths: pd.DataFrame) -> None:
    """A model that the days since the last answer match is not worth a service."""
    write_log(with_service, maths)
    assert run(with_service, "fit_survival_churn", MATHS_DAY) == 0
    evaluation = meta_of(with_service)["evaluation"]
    assert set(evaluation["compared"]) == {"days_since_last", "inactive_7_days", "inactive_7_days_rate"}
    for rival in evaluation["compared"].values():
        assert evaluation["auc"] > rival["auc"]
        assert evaluation["brier"] < rival["brier"]
        assert rival["auc_difference"] == pytest.approx(evaluation["auc"] - rival["auc"])
    assert evaluation["auc_lower"] > 0.5


def test_rows_are_what_the_log_says(settings: Settings, maths: pd.DataFrame) -> None:
    """Covariates and outcomes of every learner and landmark once more, by pandas; none rests on a later answer."""
    write_log(settings, maths)
    context = JobContext("default", MATHS_DAY, RunParams(), settings, db.connect(settings), JobRecord(), None)
    with context.connection:
        landmarks = fit_survival_churn._landmarks(context)
        fitted, scored = fit_survival_churn._load(context, landmarks)
        names = db.read_frame(context.connection, "survival/scored", as_of=MATHS_DAY)["user_id"]
        learners = dict(context.connection.execute("select learner, user_id from kpi_learner").fetchall())
    assert [(MATHS_DAY - day).days for day in landmarks] == list(range(84, -1, -7))
    fitted["user_id"] = fitted["learner"].map(learners)
    scored["landmark"] = 0
    assert names.is_unique
    found = pd.concat([fitted, scored]).set_index(["landmark", "user_id"]).sort_index()
    expected = pd.concat([landmark_rows(maths, day) for day in landmarks]).sort_index()
    assert found.index.tolist() == expected.index.tolist()
    for column in ("sessions", "answers", "days_since_last"):
        assert found[column].tolist() == expected[column].tolist()
    assert found["mean_gap"].to_numpy(dtype=float) == pytest.approx(expected["mean_gap"].to_numpy(), abs=1e-5)
    past = found.index.get_level_values("landmark") < 0
    assert found["event"][past].tolist() == expected["event"][past].tolist()
    assert found["time"][past].to_numpy(dtype=float) == pytest.approx(expected["time"][past].to_numpy(), abs=1e-6)
    assert len(fitted) == past.sum() > 1000


def landmark_rows(log: pd.DataFrame, day: date) -> pd.DataFrame:
    """Rows of one landmark, read straight from the definitions; sessions end with pauses of over 30 minutes."""
    end, close = midnight(day), midnight(MATHS_DAY)
    rows = {}
    for user, answers in log[log["completed_at"] < close].groupby("student_id"):
        times = answers["completed_at"].sort_values(ignore_index=True)
        session = (times.diff() > pd.Timedelta(minutes=30)).cumsum()
        inside = (times < end) & (times >= end - pd.Timedelta(days=COVARIATE_DAYS))
        if not inside.any():
            continue
        parts = times[inside].groupby(session[inside]).agg(["min", "max"])
        gaps = parts["min"].shift(-1).fillna(end) - parts["max"]
        later = times[times >= end]
        rows[user] = {
            "sessions": len(parts),
            "answers": int(inside.sum()),
            "mean_gap": gaps.dt.total_seconds().mean() / 86_400,
            "days_since_last": (end - times[inside].max()).days,
            "event": int(len(later) > 0),
            "time": ((later.min() if len(later) else close) - end).total_seconds() / 86_400,
        }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("user_id").reset_index()
    return frame.assign(landmark=(day - MATHS_DAY).days).set_index(["landmark", "user_id"])


def test_later_answers_change_nothing(with_service: Settings) -> None:
    """A past day rerun after its future has arrived must say what it said: else its evaluation was luck."""
    cohort = simulate_returners(500, seed=3, last_day=LAST_DAY)
    day = LAST_DAY - timedelta(days=14)
    known = cohort.log["completed_at"] < midnight(day)
    write_log(with_service, cohort.log[known])
    write_log(with_service, cohort.log, "informed")
    for tenant in ("default", "informed"):
        assert run(with_service, "fit_survival_churn", day, tenant=tenant) == 0
    own_name = ["tenant_id", "run_id"]
    for table in ("survival_risk", "survival_fit_meta"):
        before, after = rows_of(with_service, table), rows_of(with_service, table, "informed")
        assert len(before) > 0
        pd.testing.assert_frame_equal(before.drop(columns=own_name), after.drop(columns=own_name), check_exact=True)
    risk = rows_of(with_service, "survival_risk")
    assert run(with_service, "fit_survival_churn", LAST_DAY, tenant="informed") == 0
    assert run(with_service, "fit_survival_churn", day, tenant="informed") == 0
    again = rows_of(with_service, "survival_risk", "informed")
    again = again[again["as_of"] == day].reset_index(drop=True)
    pd.testing.assert_frame_equal(risk.drop(columns=own_name), again.drop(columns=own_name), check_exact=True)


def test_kpi_gets_s_and_nothing_else_changes(with_service: Settings) -> None:
    """S beside the other KPIs, null with a reason where a learner was away for four weeks."""
    cohort = simulate_returners(500, seed=3, last_day=LAST_DAY, hazard=Hazard(sessions=0.5))
    write_log(with_service, cohort.log)
    assert run(with_service, "compute_daily_kpis", LAST_DAY) == 0
    before = rows_of(with_service, "weekly_kpi")
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    kpi = rows_of(with_service, "weekly_kpi")
    own = ["s", "s_lower", "s_upper", "s_n", "s_source", "s_reason"]
    pd.testing.assert_frame_equal(kpi.drop(columns=own), before.drop(columns=own), check_exact=True)
    monday = LAST_DAY - timedelta(days=LAST_DAY.weekday())
    assert kpi.loc[kpi["week_start"] != monday, own].isna().all(axis=None)
    week = kpi[kpi["week_start"] == monday].set_index("user_id")
    risk = rows_of(with_service, "survival_risk").set_index("user_id")
    with_risk = week.loc[risk.index]
    assert (with_risk["s"] == risk["risk"]).all()
    assert (with_risk["s_lower"] == risk["risk_lower"]).all()
    assert (with_risk["s_n"] == risk["n_answers"]).all()
    without = week.drop(index=risk.index)
    assert len(without) > 10
    assert without["s"].isna().all()
    assert set(without["s_reason"]) == {"no answer in the four weeks before"}
    assert run(with_service, "compute_daily_kpis", LAST_DAY) == 0
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    pd.testing.assert_frame_equal(rows_of(with_service, "weekly_kpi"), kpi, check_exact=True)
    meta = meta_of(with_service)
    assert meta["dropped"] == [{"name": "r_t", "reason": meta["dropped"][0]["reason"]}]
    assert meta["engine_versions"]["survival"] >= "3.5"
    assert meta["warnings"] == []


def test_statistics_log_is_too_short(settings: Settings) -> None:
    """47 days cannot show who stays away for 14 of them, learnt and judged; the record says so in numbers."""
    write_log(settings, read_log("statistics_practice_attempts.csv.gz"))
    assert run(settings, "fit_survival_churn", date(2015, 12, 7)) == 0
    job = last_run(settings)
    assert job["status"] == "skipped"
    assert "the log covers 47 days, from 2015-10-22 to 2015-12-07" in job["reason"]
    meta = meta_of(settings)
    assert (meta["status"], meta["reason"]) == ("skipped", job["reason"])


def test_more_rows_than_the_service_takes_are_a_stated_sample(
    with_service: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years of landmarks would be refused by the service night after night; whose rows were left out is stated."""
    cohort = simulate_returners(300, seed=4, last_day=LAST_DAY)
    write_log(with_service, cohort.log)
    context = JobContext("default", LAST_DAY, RunParams(), with_service, db.connect(with_service), JobRecord(), None)
    with context.connection:
        rows, scored = fit_survival_churn._load(context, fit_survival_churn._landmarks(context))
        numbered = """
            select row_number() over (order by user_id collate "C"), user_id
            from kpi_learner
            where learner in (select learner from survival_row where landmark < %s)
        """
        users = dict(context.connection.execute(numbered, (LAST_DAY,)).fetchall())
    by_hash = rows.groupby("learner").size()
    by_hash.index = [md5(users[learner].encode(), usedforsecurity=False).hexdigest() for learner in by_hash.index]
    up_to = by_hash.sort_index().cumsum()
    most = int(up_to.iloc[99]) + 1  # the hundredth learner's rows still fit, the next one's do not
    monkeypatch.setattr(fit_survival_churn, "ROWS_FITTED", most)
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    meta = meta_of(with_service)
    sample = {"learners": 100, "of": len(by_hash), "rows": most - 1, "of_rows": len(rows), "by": "least md5 of user_id"}
    assert (meta["sampled"], meta["sample"], meta["n_rows"]) == (True, sample, most - 1)
    left_out = {each["reason"]: each["count"] for each in last_run(with_service)["exclusions"]}
    assert left_out["learners outside the fitted sample"] == len(by_hash) - 100
    assert len(rows_of(with_service, "survival_risk")) == len(scored)


def test_a_skip_takes_earlier_risks_away(with_service: Settings) -> None:
    """Risks of a run that would not be made again must not stand beside the record that there are none."""
    cohort = simulate_returners(300, seed=4, last_day=LAST_DAY)
    write_log(with_service, cohort.log)
    assert run(with_service, "compute_daily_kpis", LAST_DAY) == 0
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    assert len(rows_of(with_service, "survival_risk")) > 100
    away = with_service.model_copy(update={"r_forecast_unavailable": "R is not installed"})
    assert run(away, "fit_survival_churn", LAST_DAY) == 0
    assert last_run(with_service)["status"] == "skipped"
    assert rows_of(with_service, "survival_risk").empty
    kpi = rows_of(with_service, "weekly_kpi")
    reasons = kpi.loc[kpi["week_start"] == kpi["week_start"].max(), "s_reason"]
    assert set(reasons) == {"there is no r-forecast-plumber here: R is not installed"}
    assert kpi["s"].isna().all()


def test_a_cohort_that_never_leaves_is_a_recorded_skip(with_service: Settings) -> None:
    """Where nobody stays away, the model has nothing to learn from; a number would be made up."""
    cohort = simulate_returners(120, seed=5, last_day=LAST_DAY, hazard=Hazard(base=0.5, sessions=0.0, away=0.0))
    write_log(with_service, cohort.log)
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    job = last_run(with_service)
    assert job["status"] == "skipped"
    assert "without activity within 14 days; the model needs 50 of each" in job["reason"]


def test_a_break_longer_than_the_window_is_a_recorded_skip(with_service: Settings) -> None:
    """The first week after a long summer has learners and no past of theirs: that is no defect to be called out for."""
    days = [LAST_DAY - timedelta(days=back) for back in (200, 199, 3, 1)]
    write_log(with_service, [attempt(f"s{n}", f"i{day}", at(str(day))) for n in range(30) for day in days])
    assert run(with_service, "fit_survival_churn", LAST_DAY) == 0
    job = last_run(with_service)
    assert (job["status"], job["reason"]) == (
        "skipped",
        "30 learners answered in the 28 days up to 2026-03-04, none in those up to any of the 12 landmarks from "
        "2025-12-10 to 2026-02-25: nothing to learn from",
    )
    assert meta_of(with_service)["reason"] == job["reason"]


def test_fit_names_the_row_that_cannot_be(forecast_service: RService) -> None:
    """A client that mixes up its columns must not get a model of them."""
    column = {"sessions": [1, 2], "mean_gap": [3.0, 1.0], "days_since_last": [2, 0], "answers": [4, 5]}
    body: dict[str, Any] = {"learner": [1, 2], "landmark": [-7, -7], "time": [9.0, 7.0], "event": [1, 0], **column}
    body |= {f"scored_{name}": values for name, values in column.items()}
    job = forecast_service.fit("/survival/fit", body)
    assert job["state"] == "failed"
    assert "row 1: landmark -7, event 1, time 9; expected a time of at most 7" in job["error"]["detail"]
    refused = forecast_service.post("/survival/fit", body | {"time": [1.0], "landmark": [0, -7], "r_t": [2.0, None]})
    assert refused.status_code == 422
    named = {error["detail"].split(":")[0] for error in refused.json()["errors"]}
    assert named == {"time", "landmark", "r_t"}
