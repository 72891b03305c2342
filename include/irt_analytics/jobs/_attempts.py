"""Answers as arrays, all or a shard of learners at a time, and which of them count as evidence of ability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain, pairwise, zip_longest
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.runner import JobContext, JobRecord, Shard

#: Answers worked on at a time where learners can be worked through one after another.
ATTEMPTS_A_SHARD = 400_000
#: Answers that a pass over the log reads and keeps, in some 45 bytes each, to have them learner by learner: for the
#: database, sorting takes longer than all else. The learners of a longer log are read in several passes.
ATTEMPTS_A_PASS = 12_000_000
#: Answers from which several sessions of the database send them, some of the learners each.
MANY_ANSWERS, SESSIONS = 2_000_000, 2
#: An answer in under this share of the item's median time is rapid: Wise and Ma's (2012) normative threshold of 10 %.
RAPID_SHARE = 0.1
#: Above every number of an answer.
NOT_RECORDED = np.int64(2**31)
#: Microseconds of a day.
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class InvalidAnswers:
    """Numbers of first attempts that say nothing about ability; an answer is counted once."""

    timed_out: int = 0
    rapid: int = 0

    def __add__(self, other: InvalidAnswers) -> InvalidAnswers:
        return InvalidAnswers(self.timed_out + other.timed_out, self.rapid + other.rapid)

    def exclude_from(self, record: JobRecord, invalid_answers: Literal["missing", "wrong"]) -> None:
        """Put the numbers, and what the answers counted as, into the job's record."""
        counted_as = f"counted as {invalid_answers}"
        record.exclude("timed-out answers", self.timed_out, counted_as)
        record.exclude("rapid answers", self.rapid, f"{counted_as}; under a tenth of the item's median time")


@dataclass(frozen=True, eq=False)
class Attempts:
    """Answers, one row each: first attempts, or all.

    Attributes:
        student_ids: unique ids of the learners.
        item_ids: unique ids of the items.
        student: position in `student_ids`, int32, shape (n,).
        item: position in `item_ids`, int32, shape (n,).
        known: whether item and correctness are known, shape (n,).
        correct: whether the answer is correct, False where that is not known, shape (n,).
        time_ms: response time in milliseconds, -1 where not recorded, int32, shape (n,).
        timed_out: whether time ran out, shape (n,).
        columns: further columns of the query, but for texts.
        texts: of each column of texts the position of every text in `ids`, -1 where there is none, int32.
        ids: sorted, unique texts of each such column; those of none of the rows may be among them.
    """

    student_ids: pd.Index[Any]
    item_ids: pd.Index[Any]
    student: NDArray[np.int32]
    item: NDArray[np.int32]
    known: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    time_ms: NDArray[np.int32]
    timed_out: NDArray[np.bool_]
    columns: dict[str, pa.Array]
    texts: dict[str, NDArray[np.int32]]
    ids: dict[str, pd.Index[Any]]

    @classmethod
    def from_batches(cls, batches: list[pa.RecordBatch]) -> Attempts:
        """Take rows student_id, item_id, correct, response_time_ms, timed_out, and others; texts dictionary-encoded.

        Learners and items stand in the order of their ids' bytes, whatever the order of the rows. The list is emptied,
        so that the rows are not in memory twice.
        """
        pieces = {name: [batch[name] for batch in batches] for name in batches[0].schema.names}
        batches.clear()
        columns: dict[str, pa.Array] = {}
        texts: dict[str, NDArray[np.int32]] = {}
        ids: dict[str, pd.Index[Any]] = {}
        for name in list(pieces):
            column = pa.chunked_array(pieces.pop(name)).unify_dictionaries().combine_chunks()
            if pa.types.is_dictionary(column.type):
                texts[name], ids[name] = _encode(column)
            else:
                columns[name] = column
            del column
            pa.default_memory_pool().release_unused()
        return cls(
            student_ids=ids.pop("student_id"),
            item_ids=ids.pop("item_id"),
            student=texts.pop("student_id"),
            item=texts.pop("item_id"),
            known=columns["correct"].is_valid().to_numpy(zero_copy_only=False),
            correct=columns.pop("correct").fill_null(False).to_numpy(zero_copy_only=False),
            time_ms=columns.pop("response_time_ms").fill_null(-1).to_numpy(),
            timed_out=columns.pop("timed_out").to_numpy(zero_copy_only=False),
            columns=columns,
            texts=texts,
            ids=ids,
        )

    def __len__(self) -> int:
        return len(self.student)

    def take(self, rows: NDArray[np.int64], *, further: bool = False) -> Attempts:
        """The chosen rows, with the ids of all; further columns only where asked for."""
        names = ("student", "item", "known", "correct", "time_ms", "timed_out")
        place = pa.array(rows)
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in names},
            columns={name: column.take(place) for name, column in self.columns.items()} if further else {},
            texts={name: text[rows] for name, text in self.texts.items()} if further else {},
        )

    def by_learner(self, size: int) -> Iterator[Attempts]:
        """Shards of whole learners in the order of their ids, some `size` rows each; one without a row where all are.

        Their items and texts stand among those of all rows.
        """
        # Sorted as one number, the learner before the row.
        order = np.left_shift(self.student, 32, dtype=np.int64)
        order |= np.arange(len(order))
        order.sort()
        order = order.astype(np.uint32)  # the row is in its lower half
        ends = np.append(0, np.cumsum(np.bincount(self.student, minlength=len(self.student_ids))))
        learners = np.unique(np.append(np.searchsorted(ends, np.arange(0, len(order), size)), len(self.student_ids)))
        for first, last in pairwise(learners.tolist() if len(order) else [0, 0]):
            shard = self.take(order[ends[first] : ends[last]], further=True)
            yield replace(shard, student_ids=self.student_ids[first:last], student=shard.student - np.int32(first))

    def days_from(self, first_day: date) -> NDArray[np.int64]:
        """UTC day of each answer, counted from `first_day`; needs the column completed_at."""
        microseconds = self.columns["completed_at"].cast(pa.int64()).to_numpy()
        days: NDArray[np.int64] = microseconds // DAY_US - (first_day - date(1970, 1, 1)).days
        return days

    def first_answers(self) -> NDArray[np.bool_]:
        """Which answers are their learner's first to the item ever, as the database's first_attempts() has it.

        An answer whose correctness is not known is none. Those that tie in time are ordered by the other columns, so
        that the same log gives the same rows; by topic only where topics were asked for. Needs the columns of
        attempts/window, and all answers of a learner there.
        """
        rows = np.flatnonzero(self.known & ~self.columns["seen_before"].to_numpy(zero_copy_only=False))
        pair = self.student[rows] * np.int64(len(self.item_ids)) + self.item[rows]
        order = pair.argsort()
        rows, pair = rows[order], pair[order]
        completed = self.columns["completed_at"].cast(pa.int64()).to_numpy()[rows]
        start = starts(pair)
        if len(start):
            earliest = np.minimum.reduceat(completed, start)
            least = completed == np.repeat(earliest, np.diff(np.append(start, len(rows))))
            rows, pair = rows[least], pair[least]
        if len(rows) > len(start):
            attempt_no = self.columns["attempt_no"].cast(pa.int64()).fill_null(NOT_RECORDED).to_numpy()[rows]
            topic, time_ms = self.texts["topic_id"][rows], self.time_ms[rows]
            keys = (
                np.where(topic < 0, NOT_RECORDED, topic),
                self.timed_out[rows],
                np.where(time_ms < 0, NOT_RECORDED, time_ms),
                self.correct[rows],
                attempt_no,
                pair,
            )
            order = np.lexsort(keys)
            rows = rows[order][starts(pair[order])]
        first = np.zeros(len(self), dtype=np.bool_)
        first[rows] = True
        return first

    def median_times(self) -> NDArray[np.float64]:
        """Median response time of every item in milliseconds over answers in time; NaN where none is recorded."""
        # Sorted as one number, the item before the time, in a single array of the answers' length.
        by_item = np.left_shift(self.item, 32, dtype=np.int64)
        by_item |= self.time_ms
        by_item[(self.time_ms < 0) | self.timed_out] = np.iinfo(np.int64).max
        by_item.sort()
        ends = np.searchsorted(by_item, np.arange(len(self.item_ids) + 1, dtype=np.int64) << 32)
        first, n = ends[:-1], np.diff(ends)
        middle = [(by_item[(first + half)[n > 0]] & np.iinfo(np.int32).max) for half in ((n - 1) // 2, n // 2)]
        median = np.full(len(self.item_ids), np.nan)
        median[n > 0] = (middle[0] + middle[1]) / 2.0
        return median

    def judge(
        self, median_times: NDArray[np.float64], invalid_answers: Literal["missing", "wrong"]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], InvalidAnswers]:
        """Which answers are evidence of ability, whether they count as correct, and how many are invalid.

        Args:
            median_times: in milliseconds, one for each of `item_ids`, NaN where unknown.
            invalid_answers: what timed-out and rapid answers count as.
        """
        rapid = self.rapid(median_times)
        invalid = self.timed_out | rapid
        valid = ~invalid if invalid_answers == "missing" else np.ones_like(invalid)
        return valid, self.correct & ~invalid, InvalidAnswers(int(self.timed_out.sum()), int(rapid.sum()))

    def rapid(self, median_times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which answers took under a tenth of their item's median time; none where either is not recorded.

        Args:
            median_times: in milliseconds, one for each of `item_ids`, NaN where unknown.
        """
        least_ms = np.nan_to_num(np.ceil(RAPID_SHARE * median_times), nan=0.0).astype(np.int32)
        rapid = self.time_ms < least_ms[self.item]
        rapid &= self.time_ms >= 0
        rapid &= ~self.timed_out
        return rapid


def starts(key: NDArray[Any]) -> NDArray[np.int64]:
    """Where each group of equal, adjacent keys begins."""
    return np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])


def argsort_within(group: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int64]:
    """Order of the values within their groups, numbers under 2^31 each; equal ones come in any order."""
    order = values.argsort()
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    by_group: NDArray[np.int64] = ((group.astype(np.int64) << 32) | rank).argsort()
    return by_group


def _encode(column: pa.DictionaryArray) -> tuple[NDArray[np.int32], pd.Index[Any]]:
    """Position of every text among the sorted, unique ones; -1 where there is none."""
    ids = pd.Index(column.dictionary.to_pandas(), dtype="str")
    order = ids.argsort()
    rank = np.full(len(ids) + 1, -1, dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[column.indices.fill_null(len(ids)).to_numpy()], ids[order]


def read_attempts(
    context: JobContext, query: str, parts: Sequence[Mapping[str, Any]] = ({},), **params: Any
) -> Attempts:
    """Read all answers of a query, several parts of it at once where they are given (`db.reading`)."""
    with _reading(context, query, params, parts) as of_parts:
        return _together(of_parts)


@contextmanager
def reading_shards(
    context: JobContext, query: str, size: int, passes: Sequence[Sequence[Mapping[str, Any]]], **params: Any
) -> Iterator[Iterator[Attempts]]:
    """Read the answers of a query; gives some `size` rows of whole learners at a time (`Attempts.by_learner`).

    The query begins at once. A pass is read, several parts of it at once, before its first shard is given; a learner's
    answers are in one pass. A later pass sees what was committed until it begins.
    """
    with ExitStack() as first:
        of_parts = first.enter_context(_reading(context, query, params, passes[0]))

        def shards() -> Iterator[Attempts]:
            with first:
                attempts = _together(of_parts)
            yield from attempts.by_learner(size)
            for parts in passes[1:]:
                del attempts
                attempts = read_attempts(context, query, parts, **params)
                yield from attempts.by_learner(size)

        yield shards()


def _together(parts: Sequence[Iterator[pa.RecordBatch]]) -> Attempts:
    return Attempts.from_batches([batch for batch in chain.from_iterable(zip_longest(*parts)) if batch is not None])


def count_answers(context: JobContext, first_day: date) -> int:
    """Number of the tenant's answers within [first_day, as_of], whatever the shard."""
    days = {"tenant_id": context.tenant, "first_day": first_day, "as_of": context.as_of}
    return int(db.read_frame(context.connection, "attempts/number", **days).iloc[0]["answers"])


def passes(shard: Shard | None, answers: int) -> list[list[dict[str, int]]]:
    """Buckets of learners by pass over the log and by session of the database, as statements take them.

    Args:
        shard: learners to read; None: all.
        answers: about as many answers they have.
    """
    first, last = (shard or Shard(1, 1)).buckets()
    of_passes = _split(first, last, -(-answers // ATTEMPTS_A_PASS))
    return [sessions(answers // len(of_passes), start, stop) for start, stop in of_passes]


def sessions(answers: int, first_bucket: int = 0, last_bucket: int = Shard.BUCKETS - 1) -> list[dict[str, int]]:
    """Buckets of learners by session of the database, as statements take them."""
    parts = _split(first_bucket, last_bucket, SESSIONS if answers >= MANY_ANSWERS else 1)
    return [{"first_bucket": first, "last_bucket": last} for first, last in parts]


def _split(first: int, last: int, parts: int) -> list[tuple[int, int]]:
    """Buckets first..last in so many parts of about equal size, at least one."""
    edges = np.unique(np.linspace(first, last + 1, max(parts, 1) + 1).astype(int)).tolist()
    return [(start, stop - 1) for start, stop in pairwise(edges)]


def _reading(
    context: JobContext, query: str, params: dict[str, Any], parts: Sequence[Mapping[str, Any]]
) -> AbstractContextManager[list[Iterator[pa.RecordBatch]]]:
    common = {"tenant_id": context.tenant, "as_of": context.as_of, **params}
    return db.reading(context.settings, query, parts=parts, each=compact, **common)


def compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy of a batch in less room: texts dictionary-encoded, the flags of attempts/window as columns of their own.

    All columns are copied, for one that is kept would keep the room of the batch's texts from being used again.
    """
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_string(column.type):
            columns[name] = column.dictionary_encode()
        elif name == "flags":
            flags = column.to_numpy()
            columns["correct"] = _answer(flags & 3)
            columns["timed_out"] = pa.array(flags & 4 != 0)
            columns["seen_before"] = pa.array(flags & 8 != 0)
            columns["hint_used"] = _answer(flags >> 4)
        else:
            columns[name] = pa.concat_arrays([column, column[:0]])
    return pa.RecordBatch.from_pydict(columns)


def _answer(number: NDArray[np.int16]) -> pa.BooleanArray:
    return pa.array(number == 1, mask=number == 2)
