"""The answers of a window in temporary tables, with sessions and valid outcomes: what KPIs and segments read."""

from datetime import date
from typing import Any

from psycopg import sql

from irt_analytics import db
from irt_analytics.jobs._first_attempts import RAPID_SHARE
from irt_analytics.progress import track
from irt_analytics.runner import JobContext

#: Settings of the database for the job's transaction: memory of one sort or hash, and no join row by row. The planner
#: takes a tenant or days that its last analyze has not seen for a handful of rows, and a nested loop over them for
#: cheap; every equality join here is large.
PLANNER = {"work_mem": "128MB", "enable_nestloop": "off"}


def prepare_answers(
    context: JobContext, first_day: date, *, bank_day: date | None = None, first_attempts: bool = True
) -> None:
    """Make kpi_learner, kpi_bank, kpi_answer, kpi_session_day and kpi_first_attempt for [first_day, as_of].

    Args:
        context: the job's.
        first_day: first UTC day of the window.
        bank_day: the bank is the one published as of this day; as_of by default.
        first_attempts: whether kpi_first_attempt is made.
    """
    set_planner(context)
    days = {"tenant_id": context.tenant, "first_day": first_day, "as_of": context.as_of, **context.buckets()}
    evidence = {"rapid_share": RAPID_SHARE, "invalid_answers": context.params.invalid_answers}
    steps: dict[str, dict[str, Any]] = {
        "learner": days,
        "bank": {"tenant_id": context.tenant, "as_of": bank_day or context.as_of},
        "answer": days | evidence,
        "session_day": {},
    }
    if first_attempts:
        steps["first_attempt"] = days | evidence
    with track("windows prepared", len(steps)) as progress:
        for name, params in steps.items():
            create(context, f"kpis/create_{name}", f"kpi_{name}", **params)
            progress.advance(1, name)
    if first_attempts:
        db.execute(context.connection, "kpis/index_first_attempt")


def set_planner(context: JobContext) -> None:
    """Set `PLANNER` for the job's transaction."""
    for setting, value in PLANNER.items():
        context.connection.execute("select set_config(%s, %s, true)", (setting, value))


def create(context: JobContext, statement: str, table: str, **params: Any) -> None:
    """Run a statement that makes a temporary table, and let the planner know what is in it."""
    db.execute(context.connection, statement, **params)
    context.connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
