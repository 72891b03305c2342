"""The answers of a window with sessions and valid outcomes: what KPIs, the churn model and segments read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numba import config
from psycopg import sql

from irt_analytics import db
from irt_analytics.jobs._attempts import (
    ATTEMPTS_A_SHARD,
    Attempts,
    count_answers,
    passes,
    reading_shards,
    starts,
)
from irt_analytics.progress import track
from irt_analytics.runner import JobContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

S = TypeVar("S")
T = TypeVar("T")

EPOCH = date(1970, 1, 1)
#: A longer pause between answers begins a new session, where the platform records none.
PAUSE_US = 30 * 60 * 1_000_000
#: Days that the earliest window of a KPI reaches back from a week's last day (long previous window).
REACH_DAYS = 55
#: Shards worked on at once, where there are as many processors: much of it is Python's own, which runs one by one.
SHARDS_AT_ONCE = 4
#: Of a time that is not known: it sorts behind all others.
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers of whole learners within a window, one row each; times are in microseconds since 1970, days in UTC.

    Attributes:
        attempts: the answers as they were read.
        day: days since 1970.
        completed: when the answer was given.
        began: when the item was shown; `NEVER` where it cannot be known. A start after the answer counts as not
            recorded.
        hints: number of hints taken, or 1 for a hint taken and 0 for none where numbers are not recorded; -1 where
            neither is.
        session: number of the session among the learner's, from 1, by their first answers.
        derived: whether the session is a stretch of answers without a pause of over 30 minutes, for want of a recorded
            one.
        first: whether it is the learner's first answer to the item ever.
        item: place of the item in the bank, -1 where it is not there.
        evidence: whether the answer counts, right or wrong: its correctness is known, and it is neither timed out nor
            rapid; or it is one of these, to an item that is known, and they count as wrong.
        correct: whether it counts as correct.
        rapid: whether it took under a tenth of the item's median time and did not time out.
        relative_time: log of the response time over the item's median; NaN where unknown or where the answer is
            timed out or rapid.
    """

    attempts: Attempts
    day: Integers
    completed: Integers
    began: Integers
    hints: Integers
    session: Integers
    derived: Booleans
    first: Booleans
    item: Integers
    evidence: Booleans
    correct: Booleans
    rapid: Booleans
    relative_time: NDArray[np.float64]

    @classmethod
    def of(cls, attempts: Attempts, bank: pd.DataFrame, invalid_answers: Any) -> Answers:
        """Take the answers of attempts/window.

        Args:
            attempts: the rows.
            bank: item_id and median_time_ms.
            invalid_answers: what timed-out and rapid answers count as.
        """
        by_item = bank.set_index("item_id")["median_time_ms"]
        place = by_item.index.get_indexer(attempts.item_ids).astype(np.int64)
        median_times = by_item.reindex(attempts.item_ids).to_numpy(dtype=np.float64)
        valid, correct, _ = attempts.judge(median_times, invalid_answers)
        rapid = attempts.rapid(median_times)
        median_time = median_times[attempts.item]
        with np.errstate(invalid="ignore", divide="ignore"):
            relative_time = np.log(attempts.time_ms / median_time)
        relative_time[(attempts.time_ms <= 0) | ~(median_time > 0) | attempts.timed_out | rapid] = np.nan
        completed = attempts.columns["completed_at"].cast(pa.int64()).to_numpy()
        started = attempts.columns["started_at"].cast(pa.int64()).fill_null(NEVER).to_numpy()
        by_time = np.where(attempts.time_ms >= 0, completed - 1_000 * attempts.time_ms.astype(np.int64), NEVER)
        began = np.where(started <= completed, started, by_time)
        hint_used = attempts.columns["hint_used"].cast(pa.int8()).fill_null(-1).to_numpy()
        hints = attempts.columns["hints"].fill_null(-1).to_numpy()
        name = np.full(len(completed), -1)
        recorded = attempts.columns["session"].is_valid().to_numpy(zero_copy_only=False)
        _, name[recorded] = np.unique(attempts.columns["session"].drop_null().to_numpy(), return_inverse=True)
        named = np.asarray(attempts.item_ids != "")[attempts.item]
        return cls(
            attempts=attempts,
            day=attempts.days_from(EPOCH),
            completed=completed,
            began=began,
            hints=np.where(hints >= 0, hints, hint_used).astype(np.int64),
            session=number_sessions(attempts.student, attempts.item, completed, began, name),
            derived=name < 0,
            first=attempts.first_answers(),
            item=place[attempts.item],
            # where they count as wrong, no correctness is needed
            evidence=valid & (attempts.known | ((attempts.timed_out | rapid) & named)),
            correct=correct,
            rapid=rapid,
            relative_time=relative_time,
        )


def number_sessions(
    student: NDArray[np.int32], item: NDArray[np.int32], completed: Integers, began: Integers, name: Integers
) -> Integers:
    """Number the sessions of every learner from 1, in the order of their first answers.

    Args:
        student: learner of each answer.
        item: its item, by which answers that tie in time are ordered.
        completed: time it was given, in microseconds.
        began: time its item was shown, `NEVER` where not known.
        name: number of its recorded session, which may be another learner's too; -1 where none is recorded: there a
            pause of over 30 minutes from an answer to the next one's beginning divides sessions.
    """
    recorded = name >= 0
    label = name.copy()
    rows = np.flatnonzero(~recorded)
    rows = rows[np.lexsort((item[rows], began[rows], completed[rows], student[rows]))]
    begin = np.where(began == NEVER, completed, began)[rows]
    divided = np.append(True, (student[rows][1:] != student[rows][:-1]) | (begin[1:] - completed[rows][:-1] > PAUSE_US))
    label[rows] = np.cumsum(divided[: len(rows)])

    key = (student * np.int64(2) + recorded) * (label.max(initial=0) + 1) + label
    order = key.argsort()
    new = np.append(True, np.diff(key[order]) != 0)[: len(order)]
    start = np.flatnonzero(new)
    some = order[start]
    opened = np.minimum.reduceat(completed[order], start) if len(start) else completed
    by_opening = np.lexsort((label[some], recorded[some], opened, student[some]))
    owner = student[some][by_opening]
    number = np.empty(len(some), dtype=np.int64)
    number[by_opening] = np.arange(len(some)) - np.searchsorted(owner, owner) + 1
    session = np.empty(len(order), dtype=np.int64)
    session[order] = number[np.cumsum(new) - 1]
    return session


def session_days(answers: Answers) -> pd.DataFrame:
    """The part of every session that falls on a UTC day, so that windows of whole days never see what came after them.

    Returns:
        A row per learner, session and day, in their order: student, session, day, derived, began (`NEVER` where no
        answer's beginning is known), first_completed, ended, answers, hint_answers (with a number of hints), hints,
        squared_hints (sum of squares).
    """
    student, session, day = answers.attempts.student.astype(np.int64), answers.session, answers.day
    earliest = day.min(initial=NEVER)
    days, most = int(np.ptp(day)) + 1 if len(day) else 1, int(session.max(initial=0)) + 1
    key = (student * most + session) * days + (day - earliest)
    order = key.argsort()
    key = key[order]
    start = starts(key)
    hinted = answers.hints[order] >= 0
    hints = np.where(hinted, answers.hints[order], 0)
    columns = {
        "student": student[order][start],
        "session": session[order][start],
        "day": day[order][start],
        "derived": answers.derived[order][start],
    }
    reduced = {
        "began": (np.minimum, answers.began[order]),
        "first_completed": (np.minimum, answers.completed[order]),
        "ended": (np.maximum, answers.completed[order]),
        "answers": (np.add, np.ones(len(key), dtype=np.int64)),
        "hint_answers": (np.add, hinted.astype(np.int64)),
        "hints": (np.add, hints),
        "squared_hints": (np.add, hints**2),
    }
    for name, (function, values) in reduced.items():
        columns[name] = function.reduceat(values, start) if len(start) else values
    return pd.DataFrame(columns)


@contextmanager
def reading_answers(
    context: JobContext, first_day: date, bank: pd.DataFrame, each: Callable[[Answers], T], *, look_back: bool = True
) -> Iterator[Iterator[T]]:
    """Read the answers within [first_day, as_of]; gives what `each` makes of some learners' at a time, or all.

    Learners, the shard's or all, come in the order of their ids' bytes within a pass (`ATTEMPTS_A_PASS`). The context's
    connection is used on entry only.

    Args:
        context: the job's.
        first_day: first UTC day of the window.
        bank: items and their median times (`read_bank`).
        each: called with the answers of several learners at once, in threads.
        look_back: whether answers before the window are looked up; without, `Answers.first` is the first within it.
    """
    answers = count_answers(context, first_day)
    size = min(ATTEMPTS_A_SHARD, max(1, -(-answers // context.params.shards)))
    own = answers // (context.shard.of if context.shard else 1)
    params = {"first_day": first_day, "sessions": True, "topics": False, "look_back": look_back}

    def of_shard(attempts: Attempts) -> tuple[T, int]:
        return each(Answers.of(attempts, bank, context.params.invalid_answers)), len(attempts)

    with (
        reading_shards(context, "attempts/window", size, passes(context.shard, own), **params) as shards,
        track("answers by session", own) as progress,
    ):

        def of_shards() -> Iterator[T]:
            for made, n in _in_threads(of_shard, shards):
                progress.advance(n)
                yield made

        yield of_shards()


def _in_threads(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """What the function makes of each item, in their order; up to `SHARDS_AT_ONCE` items at once."""
    threads = min(SHARDS_AT_ONCE, int(config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # set at import
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # after a signal or an error nobody waits for what has not begun
            for future in pending:
                future.cancel()


def read_bank(context: JobContext, day: date | None = None) -> pd.DataFrame:
    """Items published as of a day, as_of by default: item_id, a, b, c, median_time_ms (NaN where unknown)."""
    day = day or context.as_of
    bank = db.read_frame(context.connection, "features/bank", tenant_id=context.tenant, as_of=day)
    columns: dict[str, Any] = {"item_id": bank["item_id"].astype("str")}
    for name in ("a", "b", "c", "median_time_ms"):
        columns[name] = bank[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(columns).sort_values("item_id", ignore_index=True)


def days_since_1970(days: Iterable[date]) -> Integers:
    """Days as the answers' are counted."""
    return np.array([(day - EPOCH).days for day in days], dtype=np.int64)


def to_dates(days: Integers) -> NDArray[np.datetime64]:
    """The reverse."""
    return days.astype("datetime64[D]").astype("datetime64[s]")


@dataclass(frozen=True, eq=False)
class Sessions:
    """Learners and their sessions by day (`session_days`)."""

    student_ids: pd.Index[Any]
    days: pd.DataFrame

    @classmethod
    def of(cls, answers: Answers) -> Sessions:
        """Those of some learners."""
        return cls(answers.attempts.student_ids, session_days(answers))


def write_sessions(write: db.Writer, sessions: Sessions, after: int) -> None:
    """Write the learners and their sessions by day to kpi_learner and kpi_session_day, numbered from after + 1."""
    numbers = np.arange(len(sessions.student_ids), dtype=np.int32) + (after + 1)
    write("kpi_learner", pd.DataFrame({"learner": numbers, "user_id": sessions.student_ids}))
    parts = sessions.days.rename(columns={"session": "session_no"})
    times = {name: parts.pop(name) for name in ("began", "first_completed", "ended")}
    parts["learner"] = parts.pop("student") + (after + 1)
    parts["day"] = to_dates(parts["day"].to_numpy())
    for name, time in times.items():
        known = pd.Series(time.to_numpy().astype("datetime64[us]")).where(time != NEVER)
        parts[f"{name}_at"] = known.dt.tz_localize("UTC")
    write("kpi_session_day", parts)


#: Settings of the database for a job's transaction: memory of one sort or hash, and no join row by row. The planner
#: takes a tenant or days that its last analyze has not seen for a handful of rows, and a nested loop over them for
#: cheap; every equality join here is large.
PLANNER = {"work_mem": "128MB", "enable_nestloop": "off"}


def set_planner(context: JobContext) -> None:
    """Set `PLANNER` for the job's transaction."""
    for setting, value in PLANNER.items():
        context.connection.execute("select set_config(%s, %s, true)", (setting, value))


def create(context: JobContext, statement: str, table: str, **params: Any) -> None:
    """Run a statement that makes a temporary table, and let the planner know what is in it."""
    db.execute(context.connection, statement, **params)
    context.connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
