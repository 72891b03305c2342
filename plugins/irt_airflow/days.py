"""The day a run looks at."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol


class RunDates(Protocol):
    """The two dates of a Dag run that never change once it exists."""

    logical_date: datetime | None
    run_after: datetime


def as_of(params: Mapping[str, Any], dag_run: RunDates) -> str:
    """Return the last complete UTC day that a run may look at, as an ISO date.

    It is the param `as_of` where given, else the day before the run's logical date, or before `run_after` where a run
    has no logical date. Both are fixed when the run is created, so scheduled, manual, cleared and backfill runs agree
    with their own retries after midnight; `ds`, data intervals and the clock do not.
    """
    given = params.get("as_of")
    if given:
        return str(given)
    return last_complete_day(dag_run.logical_date or dag_run.run_after)


def last_complete_day(moment: datetime) -> str:
    """Return the last UTC day that was over at a moment, as an ISO date."""
    return (moment.astimezone(UTC).date() - timedelta(days=1)).isoformat()
