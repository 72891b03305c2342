"""Learner KPIs of the day's week: growth I_t, activity A_t, efficiency E_t and resolution R_t.

The answers of the windows are read once, some learners at a time, for the day's week and for every past week that no
run has seen complete; each week looks only at answers up to its own last day. What rests on one learner's answers can
be computed in shards by other processes; what compares a learner with the cohort is this job's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING

from irt_analytics import db
from irt_analytics.errors import Skip
from irt_analytics.jobs._kpi_findings import Findings
from irt_analytics.jobs._kpi_rows import weekly_rows
from irt_analytics.jobs._parts import Kept, basis, forget, keep, take
from irt_analytics.jobs._windows import REACH_DAYS, days_since_1970, read_bank, reading_answers
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.runner import Job, JobContext

if TYPE_CHECKING:
    import pandas as pd


def run(context: JobContext) -> None:
    """Write weekly_kpi of as_of's week, and of the past weeks that no earlier run has seen complete."""
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    weeks = db.read_frame(context.connection, "kpis/due_weeks", history_weeks=HISTORY_WEEKS, **day)
    first_day = weeks["last_day"].min() - timedelta(days=REACH_DAYS)
    rests_on = _basis(context, weeks)
    kept = take(context, rests_on) if context.shard is None else None
    bank = read_bank(context)
    found = _compute(context, weeks, first_day, bank) if kept is None else _load(kept)
    _count(context, found.counts, len(bank))
    if context.shard is not None:
        keep(context, rests_on, found.frames(), found.counts)
        return

    db.ensure_partitions(context.connection, [context.as_of])
    with _replacing(context) as write:
        for rows in weekly_rows(found, weeks, context.as_of):
            write("weekly_kpi", rows.assign(tenant_id=context.tenant, as_of=context.as_of))
    if kept is not None:
        forget(context)
    context.record.wrote("weekly_kpi", len(found.weekly))
    if not len(found.weekly):
        raise Skip(f"no answer from {first_day} to {context.as_of}", keep_writes=True)


def _basis(context: JobContext, weeks: pd.DataFrame) -> str:
    published = db.read_frame(
        context.connection, "features/calibration", tenant_id=context.tenant, as_of=context.as_of
    )["run_id"].tolist()
    return basis(context, " ".join([*published, *map(str, weeks["last_day"])]))


def _compute(context: JobContext, weeks: pd.DataFrame, first_day: date, bank: pd.DataFrame) -> Findings:
    """Find what rests on one learner's answers, of all learners or of the shard's."""
    last_days = days_since_1970(weeks["last_day"].tolist())
    with reading_answers(context, first_day, bank, lambda answers: Findings.of(answers, bank, last_days)) as found:
        return Findings.join(found)


def _load(kept: Kept) -> Findings:
    """What `_compute` returns, from what all shards kept."""
    of_shards = zip(*(kept.frames(name) for name in Findings.FRAMES), strict=True)
    named = (dict(zip(Findings.FRAMES, frames, strict=True)) for frames in of_shards)
    found = Findings.join(Findings(**frames, counts=Counter()) for frames in named)
    found.counts.update(kept.counts)
    return found


def _count(context: JobContext, counts: Counter[str], items: int) -> None:
    record = context.record
    record.read("attempt", counts["answers"])
    record.read("published_items", items)
    counted_as = f"first attempts counted as {context.params.invalid_answers}"
    record.exclude("timed-out answers", counts["timed_out"], counted_as)
    record.exclude("rapid answers", counts["rapid"], f"{counted_as}; under a tenth of the item's median time")
    record.exclude("first attempts on items that are not in the bank", counts["uncalibrated"], "no part in theta")


@contextmanager
def _replacing(context: JobContext) -> Iterator[db.Writer]:
    """Replace the day's rows by those written in the block; what later jobs added to them is put back."""
    connection, day = context.connection, {"tenant_id": context.tenant, "as_of": context.as_of}
    context.lock_rows("weekly_kpi")
    db.execute(connection, "kpis/create_later", **day)
    db.execute(connection, "kpis/forget", **day)
    with db.writing(connection) as write:
        yield write
    db.execute(connection, "kpis/restore_later", **day)


JOB = Job(name="compute_daily_kpis", run=run)
