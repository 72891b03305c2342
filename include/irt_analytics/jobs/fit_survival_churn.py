"""S: the probability that a learner stays away for the 14 days after as_of, from a Cox model of weekly landmarks.

A landmark is the end of a past day; its rows are the learners active in the 28 days before, with covariates from those
days only and the time to the next answer, censored at as_of. r-forecast-plumber fits, evaluates on later landmarks and
scores.
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import clients, db
from irt_analytics.clients.forecast import SurvivalEvaluation, SurvivalFitRequest, SurvivalFitResult
from irt_analytics.errors import Skip
from irt_analytics.jobs._kpis import resolution
from irt_analytics.jobs._results import no_rows, parameters, records, replace_day, run_id
from irt_analytics.jobs._windows import (
    Answers,
    Sessions,
    create,
    days_since_1970,
    read_bank,
    reading_answers,
    set_planner,
    write_sessions,
)
from irt_analytics.runner import Job, JobContext

HORIZON_DAYS = 14
#: Days before a landmark, its own among them, that covariates come from.
COVARIATE_DAYS = 28
#: Of the log up to as_of: covariates of a first landmark, outcomes to learn from, outcomes to be judged by.
DAYS_NEEDED = COVARIATE_DAYS + 2 * HORIZON_DAYS
#: Above this number of learners, or of their rows, a random sample of learners is fitted; every active one is scored.
#: So many rows are a body of 45 MB (the service takes 256) and a fit in 1.1 GB (of its 2), and what so many learners
#: have within the default window.
LEARNERS_FITTED = 50_000
ROWS_FITTED = 650_000
#: A normal prior with mean 0 and this precision on each log hazard ratio of a standardised covariate.
RIDGE = 1.0
#: From this risk on a learner is flagged: staying away is at least as likely as coming back.
AT_RISK = 0.5

#: Params that its numbers depend on.
PARAMETERS = ("survival_window_days", "invalid_answers")

COVARIATES = ("sessions", "mean_gap", "days_since_last", "answers", "r_t")


def run(context: JobContext) -> None:
    """Write survival_fit_meta and survival_risk of the day, and s of weekly_kpi.

    Raises:
        Skip: the log is too short or too uniform for the model, or there is no service; survival_fit_meta says why.
    """
    try:
        _fit(context)
    except Skip as skip:
        _save_skip(context, str(skip))
        raise Skip(str(skip), keep_writes=True) from skip


def _fit(context: JobContext) -> None:
    landmarks = _landmarks(context)
    service = clients.address(context.settings, "forecast")
    fitted, scored = _load(context, landmarks)
    if scored.empty:
        raise Skip(f"no learner answered in the {COVARIATE_DAYS} days up to {context.as_of}")
    if fitted.empty:
        raise Skip(
            f"{len(scored)} learners answered in the {COVARIATE_DAYS} days up to {context.as_of}, none in those up to "
            f"any of the {len(landmarks) - 1} landmarks from {landmarks[0]} to {landmarks[-2]}: nothing to learn from"
        )
    request = SurvivalFitRequest(
        **{name: _values(fitted[name]) for name in ("learner", "landmark", "time", "event", *COVARIATES)},
        **{f"scored_{name}": _values(scored[name]) for name in COVARIATES},
        horizon_days=HORIZON_DAYS,
        ridge=RIDGE,
    )

    async def fit() -> SurvivalFitResult:
        async with clients.RForecastClient(service) as client:
            return await client.fit_survival(request)

    result = clients.run(fit)
    if not len(scored) == len(result.risk) == len(result.risk_lower) == len(result.risk_upper):
        raise RuntimeError(f"{service.label} was sent {len(scored)} learners to score and returned {len(result.risk)}")
    _save(context, run_id(context, parameters(context, PARAMETERS), request.body()), fitted, scored, result)


def _landmarks(context: JobContext) -> list[date]:
    """Weekly landmarks of the window, oldest first, and as_of; each with its covariate days inside the log."""
    first_answer = db.read_frame(context.connection, "calibration/first_answer", tenant_id=context.tenant)["day"][0]
    if pd.isna(first_answer) or first_answer > context.as_of:
        raise Skip(f"no answer up to {context.as_of}")
    days = (context.as_of - first_answer).days + 1
    if days < DAYS_NEEDED:
        raise Skip(
            f"the log covers {days} days, from {first_answer} to {context.as_of}; the churn model needs {DAYS_NEEDED}: "
            f"{COVARIATE_DAYS} up to a first landmark, {HORIZON_DAYS} to learn from and {HORIZON_DAYS} to be "
            "judged by"
        )
    reach = min(context.params.survival_window_days, days - COVARIATE_DAYS)
    return [context.as_of - timedelta(weeks=weeks) for weeks in range(reach // 7, -1, -1)]


def _load(context: JobContext, landmarks: list[date]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit and learners to score.

    Items' median times, which tell rapid answers in R_t, are those published as of the first landmark: later ones
    rest on answers that came after the landmarks.
    """
    first_day = landmarks[0] - timedelta(days=COVARIATE_DAYS - 1)
    connection = context.connection
    set_planner(context)
    create(context, "kpis/create_week", "kpi_week", week_starts=landmarks, last_days=landmarks)
    for table in ("learner", "session_day"):
        db.execute(connection, f"kpis/create_{table}")
    db.execute(connection, "survival/create_resolution")
    learners = 0
    bank = read_bank(context, landmarks[0])
    days = days_since_1970(landmarks)

    def sessions_and_resolution(answers: Answers) -> tuple[Sessions, NDArray[Any]]:
        return Sessions.of(answers), resolution(answers, days)["value"]

    with (
        reading_answers(context, first_day, bank, sessions_and_resolution, look_back=False) as shards,
        db.writing(connection) as write,
    ):
        for sessions, r_t in shards:
            write_sessions(write, sessions, learners)
            landmark, who = np.nonzero(~np.isnan(r_t))
            columns = {"learner": who + learners + 1, "landmark": np.array(landmarks, dtype="datetime64[s]")[landmark]}
            write("survival_resolution", pd.DataFrame(columns | {"r_t": r_t[landmark, who]}))
            learners += len(sessions.student_ids)
    connection.execute("analyze kpi_learner, kpi_session_day, survival_resolution")
    create(context, "survival/create_row", "survival_row")
    fitted = db.read_frame(
        context.connection,
        "survival/fitted",
        as_of=context.as_of,
        learners_fitted=LEARNERS_FITTED,
        rows_fitted=ROWS_FITTED,
    )
    scored = db.read_frame(context.connection, "survival/scored", as_of=context.as_of)
    context.record.read("landmark rows", len(fitted))
    context.record.read("learners", len(scored))
    return fitted, scored


def _values(column: "pd.Series[Any]") -> list[Any]:
    return column.astype(object).where(column.notna(), None).tolist()


def _save(
    context: JobContext, run_id: str, fitted: pd.DataFrame, scored: pd.DataFrame, result: SurvivalFitResult
) -> None:
    learners, of = fitted["learner"].nunique(), int(fitted["learners"].iloc[0])
    context.record.exclude("learners outside the fitted sample", of - learners, "all active ones are scored")
    sample = {
        "learners": learners,
        "of": of,
        "rows": len(fitted),
        "of_rows": int(fitted["rows"].iloc[0]),
        "by": "least md5 of user_id",
    }
    meta = {
        "run_id": run_id,
        "status": "success",
        **result.model_dump(include={"horizon_days", "n_learners", "n_landmarks", "n_rows", "n_events", "baseline"}),
        "sampled": learners < of,
        "sample": sample if learners < of else None,
        "covariates": records(result.covariates),
        "dropped": records(result.dropped),
        "evaluation": _evaluation(result.evaluation),
        "engine_versions": result.engine_versions,
        "warnings": result.warnings,
        "parameters": parameters(context, PARAMETERS) | {"ridge": result.ridge},
    }
    risk = pd.DataFrame(
        {
            "user_id": scored["user_id"],
            "run_id": run_id,
            "week_start": context.as_of - timedelta(days=context.as_of.weekday()),
            "risk": result.risk,
            "risk_lower": result.risk_lower,
            "risk_upper": result.risk_upper,
            "days_since_last": scored["days_since_last"],
            "last_active": [context.as_of - timedelta(days=days) for days in scored["days_since_last"].tolist()],
            "n_answers": scored["answers"],
            "at_risk": [risk >= AT_RISK for risk in result.risk],
        }
    )
    _replace(context, meta, risk, reason=None)


def _save_skip(context: JobContext, reason: str) -> None:
    """Record that the day has no risks, and take away what an earlier try left."""
    meta = {
        "run_id": run_id(context, parameters(context, PARAMETERS), reason.encode()),
        "status": "skipped",
        "reason": reason,
        "horizon_days": HORIZON_DAYS,
        "parameters": parameters(context, PARAMETERS) | {"ridge": RIDGE},
    }
    _replace(context, meta, no_rows(), reason=reason)


def _replace(context: JobContext, meta: dict[str, Any], risk: pd.DataFrame, *, reason: str | None) -> None:
    context.begin_sharing("weekly_kpi")
    replace_day(context, "survival_fit_meta", pd.DataFrame([meta]))
    replace_day(context, "survival_risk", risk)
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    context.record.wrote("weekly_kpi", db.execute(context.connection, "survival/save_kpi", reason=reason, **day))


def _evaluation(evaluation: SurvivalEvaluation) -> dict[str, Any]:
    known = evaluation.model_dump(exclude_none=True)
    if evaluation.calibration is not None:
        known["calibration"] = records(evaluation.calibration)
    return known


JOB = Job(name="fit_survival_churn", run=run)
