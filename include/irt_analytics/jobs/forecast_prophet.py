"""Where the cohort and its segments are heading: forecasts of weekly ability and growth, and weeks that stand out.

A series is a week's mean theta, from that week's own answers, or its mean I_t. It ends with the last complete week, so
that a day's run and the next agree on it. A segment's week is that of the learners who were in it before the week
began: by a later clustering, the series of "improving" would end high by construction. r-forecast-plumber forecasts the
four weeks after and judges each past week by its forecast from the weeks before.
"""

from datetime import date, timedelta
from typing import Any

import pandas as pd

from irt_analytics import clients, db
from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult
from irt_analytics.errors import Skip
from irt_analytics.jobs._results import no_rows, parameters, records, replace_day, run_id
from irt_analytics.runner import Job, JobContext

HORIZON_WEEKS = 4
#: Share of weeks that the intervals are to hold.
LEVEL = 0.8
#: |z| from which a week is an anomaly.
THRESHOLD = 2.5
#: First attempts in a week that make a learner count for it.
MIN_ANSWERS = 5
#: Learners a week's mean needs.
MIN_LEARNERS = 10
#: Weeks with a value that a forecast needs: 4 before the first forecast of the past, 12 such forecasts to learn from.
WEEKS_NEEDED = 16
#: A series without a value for more than so many weeks has no forecast.
LONGEST_GAP_WEEKS = 4

#: Params that its numbers depend on.
PARAMETERS = ("prophet_weeks",)

TABLES = ("prophet_fit_meta", "prophet_forecast", "prophet_anomalies")


def run(context: JobContext) -> None:
    """Write prophet_fit_meta, prophet_forecast and prophet_anomalies of the day.

    Raises:
        Skip: no series is long enough, or there is no service; prophet_fit_meta says why.
    """
    first_week, last_week = _weeks(context)
    weeks = db.read_frame(
        context.connection,
        "forecast/weeks",
        tenant_id=context.tenant,
        as_of=context.as_of,
        first_week=first_week,
        last_week=last_week,
        min_answers=MIN_ANSWERS,
        min_learners=MIN_LEARNERS,
    )
    context.record.read("weeks of series", len(weeks))
    weeks["name"] = weeks["series"] + " " + weeks["metric"]
    reasons = _left_out(weeks, last_week)
    context.record.exclude("series without a forecast", sum(map(bool, reasons.values())), "prophet_fit_meta says why")
    usable = weeks[weeks["name"].map(reasons) == ""]
    try:
        if usable.empty:
            raise Skip(_too_short(weeks, first_week, last_week))
        service = clients.address(context.settings, "forecast")
        request = _request(usable, last_week)

        async def fit() -> ProphetFitResult:
            async with clients.RForecastClient(service) as client:
                return await client.fit_prophet(request)

        result = clients.run(fit)
    except Skip as skip:
        meta = {"status": "skipped", "reason": str(skip), "n_series": 0, "series": _describe(weeks, reasons)}
        meta["run_id"] = run_id(context, parameters(context, PARAMETERS), str(skip).encode())
        _replace(context, meta, no_rows("series"), no_rows("series"))
        raise Skip(str(skip), keep_writes=True) from skip
    _save(context, run_id(context, parameters(context, PARAMETERS), request.body()), weeks, reasons, result)


def _weeks(context: JobContext) -> tuple[date, date]:
    """Mondays of the first and the last complete week of the window."""
    day_after = context.as_of + timedelta(days=1)
    last_week = day_after - timedelta(days=day_after.weekday() + 7)
    return last_week - timedelta(weeks=context.params.prophet_weeks - 1), last_week


def _left_out(weeks: pd.DataFrame, last_week: date) -> dict[str, str]:
    """Why each series has no forecast; empty where it gets one."""
    reasons = {}
    for name, own in weeks.groupby("name", sort=False):
        newest = own["week_start"].max()
        gap = (last_week - newest).days // 7
        if len(own) < WEEKS_NEEDED:
            reasons[str(name)] = f"{len(own)} weeks with a value; a forecast needs {WEEKS_NEEDED}"
        elif gap > LONGEST_GAP_WEEKS:
            reasons[str(name)] = f"no value since the week of {newest}, {gap} weeks before the last"
        else:
            reasons[str(name)] = ""
    return reasons


def _too_short(weeks: pd.DataFrame, first_week: date, last_week: date) -> str:
    cohort = weeks[weeks["series"] == "cohort"]
    known = {metric: int((cohort["metric"] == metric).sum()) for metric in ("theta", "i_t")}
    return (
        f"of the weeks from {first_week} to {last_week}, {known['theta']} have a mean theta and {known['i_t']} a mean "
        f"I_t of at least {MIN_LEARNERS} learners; a forecast needs {WEEKS_NEEDED} up to the last {LONGEST_GAP_WEEKS}"
    )


def _request(usable: pd.DataFrame, last_week: date) -> ProphetFitRequest:
    return ProphetFitRequest(
        series=usable["name"].tolist(),
        week=usable["week_start"].tolist(),
        value=usable["value"].tolist(),
        se=usable["se"].tolist(),
        last_week=last_week,
        horizon=HORIZON_WEEKS,
        level=LEVEL,
        threshold=THRESHOLD,
    )


def _save(
    context: JobContext, run_id: str, weeks: pd.DataFrame, reasons: dict[str, str], result: ProphetFitResult
) -> None:
    names = weeks.drop_duplicates("name").set_index("name")[["series", "metric"]]
    forecast = _frame(result.forecast, names).rename(columns={"week": "week_start"})
    judged = _frame(result.history, names).rename(columns={"week": "week_start"})
    sizes = weeks.set_index(["name", "week_start"])["n_learners"]
    keys = zip(result.history.series, result.history.week, strict=True)
    judged["n_learners"] = [int(sizes[key]) for key in keys]
    fitted = {summary["series"]: summary for summary in records(result.series.model_dump())}
    expected = {name for name, reason in reasons.items() if not reason}
    if set(fitted) != expected:
        raise RuntimeError(f"{sorted(expected)} were sent to be forecast, {sorted(fitted)} came back")
    for width in records(result.calibration.model_dump()):
        fitted[width.pop("series")].setdefault("calibration", []).append(width)
    meta = {
        "run_id": run_id,
        "status": "success",
        "n_series": sum(summary["reason"] is None for summary in fitted.values()),
        "series": _describe(weeks, reasons, fitted),
        "engine_versions": result.engine_versions,
        "warnings": result.warnings,
    }
    _replace(context, meta, forecast.assign(level=LEVEL, run_id=run_id), judged.assign(run_id=run_id))


def _describe(
    weeks: pd.DataFrame, reasons: dict[str, str], fitted: dict[str, dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """An object a series for prophet_fit_meta.series."""
    described = []
    for name, own in weeks.groupby("name", sort=False):
        series = {"name": own["series"].iloc[0], "metric": own["metric"].iloc[0], "n_weeks": len(own)}
        found = {key: value for key, value in (fitted or {}).get(str(name), {}).items() if key != "series"}
        described.append(series | {"reason": reasons[str(name)] or None} | found)
    return described


def _replace(context: JobContext, meta: dict[str, Any], forecast: pd.DataFrame, judged: pd.DataFrame) -> None:
    meta["parameters"] = parameters(context, PARAMETERS) | {"level": LEVEL, "threshold": THRESHOLD}
    for table, frame in zip(TABLES, (pd.DataFrame([meta]), forecast, judged), strict=True):
        replace_day(context, table, frame)


def _frame(columns: Any, names: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame of a result's columns, the service's name of a series taken apart into series and metric."""
    frame = pd.DataFrame(columns.model_dump())
    own = names.reindex(frame["series"])
    return frame.assign(series=own["series"].to_numpy(), metric=own["metric"].to_numpy())


JOB = Job(name="forecast_prophet", run=run)
