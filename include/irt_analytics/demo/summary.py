"""What came of a run: its reports, a number a model, rows and seconds, for a person and for programs."""

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from irt_analytics import db
from irt_analytics.demo.dataset import TENANT, Dataset
from irt_analytics.demo.follow import Outcome
from irt_analytics.demo.postgres import Postgres


@dataclass(frozen=True)
class Number:
    """A number that a person wants to know first, with what it says."""

    name: str
    text: str
    value: float | None


@dataclass(frozen=True)
class Summary:
    """What one run did; its numbers are in the order of their use."""

    as_of: date
    dataset: Dataset
    database_url: str
    outcome: Outcome
    reports: list[Path]
    numbers: list[Number]
    rows: dict[str, int]
    total_seconds: float

    def document(self) -> dict[str, Any]:
        """The summary for programs, as JSON."""
        return {
            "as_of": self.as_of.isoformat(),
            "tenant": TENANT,
            "source": self.dataset.source,
            "reports": [str(path) for path in self.reports],
            "database_url": self.database_url,
            "dag_run_id": self.outcome.run_id,
            "numbers": {number.name: {"value": number.value, "text": number.text} for number in self.numbers},
            "rows": self.rows,
            "seconds": self.outcome.seconds,
            "total_seconds": round(self.total_seconds, 1),
        }


def summarise(postgres: Postgres, dataset: Dataset, as_of: date, outcome: Outcome, total_seconds: float) -> Summary:
    """Read from the database what a run of `as_of` left there."""
    day = {"tenant_id": TENANT, "as_of": as_of}
    with postgres.connect(dataset.database) as connection:
        urls = [url for (url,) in connection.execute(db.sql("demo/reports"), day)]
        found = connection.cursor(row_factory=dict_row).execute(db.sql("demo/numbers"), day).fetchone()
        return Summary(
            as_of=as_of,
            dataset=dataset,
            database_url=postgres.url(dataset.database),
            outcome=outcome,
            reports=[Path(unquote(urlsplit(url).path)) for url in urls],
            numbers=_numbers(found) if found is not None else [],
            rows=_count_rows(connection),
            total_seconds=total_seconds,
        )


def _count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    tables = [name for (name,) in connection.execute(db.sql("demo/tables"))]
    counts = sql.SQL(" union all ").join(
        sql.SQL("select {}, count(*) from {} where tenant_id = {}").format(
            sql.Literal(name), sql.Identifier(name), sql.Literal(TENANT)
        )
        for name in tables
    )
    return dict(sorted(connection.execute(counts).fetchall()))


def _numbers(found: dict[str, Any]) -> list[Number]:
    """A number a model, the most useful first."""
    window = f"{found['window_start']} to {found['window_end']}"
    if found["window_extended"]:
        window += ", extended"
    items = (
        f"{found['items']:,} calibrated by {found['model']} from {found['n_responses']:,} first answers ({window}); "
        f"{found['provisional']:,} provisional"
    )
    return [
        Number("items", items, found["items"]),
        _reliability(found),
        _growth(found),
        _churn(found),
        _goals(found),
        _topics(found),
        _forecast(found),
        _segments(found),
        Number(
            "active learners",
            f"{found['active']:,} in the last 28 days"
            + _optional("; median activity A_t {:.2f}", found["median_activity"]),
            found["active"],
        ),
    ]


def _reliability(found: dict[str, Any]) -> Number:
    """Marginal reliability of EAP: variance of theta over itself plus the mean error variance (Green et al., 1984)."""
    variance, error = found["variance"], found["error_variance"]
    if variance is None or error is None:
        return Number("learners measured", f"{found['learners']:,}", None)
    reliability = variance / (variance + error)
    text = f"{found['learners']:,}; standard error {math.sqrt(error):.2f} logits, reliability {reliability:.2f}"
    return Number("learners measured", text, reliability)


def _growth(found: dict[str, Any]) -> Number:
    if not found["with_growth"]:
        return Number("growth", f"not measurable: {found['growth_reason'] or 'no learner with enough answers'}", None)
    learners, mean = f"{found['with_growth']:,} learners", found["mean_growth"]
    text = (
        f"{learners} measured, too few for a mean"
        if mean is None
        else f"{mean:+.2f} logits in a fortnight over {learners}"
    )
    text += f"; {found['growing']:,} grew and {found['declining']:,} declined beyond their error"
    return Number("growth", text, mean)


def _topics(found: dict[str, Any]) -> Number:
    if found["slope"] is None:
        return Number("growth by topic", _none(found["glmm_reason"]), None)
    text = (
        f"{found['slope']:+.3f} logits a week (standard error {found['slope_se']:.3f}) over {found['n_topics']} topics"
    )
    if not found["glmm_trusted"]:
        text += "; the fit did not converge or is singular"
    return Number("growth by topic", text, found["slope"])


def _churn(found: dict[str, Any]) -> Number:
    if not found["rated"]:
        return Number("at risk of leaving", _none(found["churn_reason"]), None)
    text = f"{found['at_risk']:,} of {found['rated']:,} active learners"
    return Number("at risk of leaving", text + _optional("; AUC on later weeks {:.2f}", found["auc"]), found["at_risk"])


def _goals(found: dict[str, Any]) -> Number:
    if not found["lines"]:
        return Number("goals", _none(found["goals_reason"]), None)
    text = f"{found['surely_growing']:,} of {found['lines']:,} learners surely grow"
    if found["with_goal"]:
        text = (
            f"{found['on_course']:,} of {found['with_goal']:,} learners are more likely than not to reach theirs; "
            + text
        )
    return Number("goals", text, found["on_course"] if found["with_goal"] else found["surely_growing"])


def _forecast(found: dict[str, Any]) -> Number:
    if found["forecast"] is None:
        return Number("forecast", _none(found["forecast_reason"]), None)
    text = (
        f"mean theta {found['forecast']:+.2f} ({found['forecast_lower']:+.2f} to {found['forecast_upper']:+.2f}) in "
        f"{found['horizon']} weeks; {found['odd_weeks']} odd weeks"
    )
    return Number("forecast", text, found["forecast"])


def _segments(found: dict[str, Any]) -> Number:
    if found["segments_reason"] is not None or not found["segments"]:
        return Number("segments", _none(found["segments_reason"]), None)
    return Number("segments", f"{found['segments']} stable groups of learners", found["segments"])


def _none(reason: str | None) -> str:
    return f"none: {reason or 'not computed'}"


def _optional(template: str, value: float | None) -> str:
    return "" if value is None else template.format(value)
