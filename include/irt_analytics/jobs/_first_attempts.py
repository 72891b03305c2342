"""First attempts as arrays, all or a shard of learners at a time, and which of them count as evidence of ability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.runner import JobContext, JobRecord

#: First attempts in memory at a time where learners can be worked through one after another.
ATTEMPTS_A_SHARD = 1_000_000
#: An answer in under this share of the item's median time is rapid: Wise and Ma's (2012) normative threshold of 10 %.
RAPID_SHARE = 0.1


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
class FirstAttempts:
    """First attempts, one row each.

    Attributes:
        student_ids: unique ids of the learners.
        item_ids: unique ids of the items.
        student: position in `student_ids`, int32, shape (n,).
        item: position in `item_ids`, int32, shape (n,).
        correct: whether the answer is correct, shape (n,).
        time_ms: response time in milliseconds, -1 where not recorded, int32, shape (n,).
        timed_out: whether time ran out, shape (n,).
        columns: further columns of the query.
    """

    student_ids: pd.Index[Any]
    item_ids: pd.Index[Any]
    student: NDArray[np.int32]
    item: NDArray[np.int32]
    correct: NDArray[np.bool_]
    time_ms: NDArray[np.int32]
    timed_out: NDArray[np.bool_]
    columns: dict[str, pa.ChunkedArray]

    @classmethod
    def from_arrow(cls, table: pa.Table) -> FirstAttempts:
        """Take rows student_id, item_id (both dictionary-encoded), correct, response_time_ms, timed_out, and others.

        Learners and items stand in the order of their ids' bytes, whatever the order of the rows.
        """
        student, student_ids = _encode(table["student_id"])
        item, item_ids = _encode(table["item_id"])
        own = ("student_id", "item_id", "correct", "response_time_ms", "timed_out")
        return cls(
            student_ids=student_ids,
            item_ids=item_ids,
            student=student,
            item=item,
            correct=table["correct"].to_numpy(),
            time_ms=table["response_time_ms"].fill_null(-1).to_numpy(),
            timed_out=table["timed_out"].to_numpy(),
            columns={name: table[name] for name in table.column_names if name not in own},
        )

    def __len__(self) -> int:
        return len(self.student)

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


def _encode(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pd.Index[Any]]:
    """Position of every text, dictionary-encoded, among the sorted, unique ones."""
    encoded = column.unify_dictionaries().combine_chunks()
    ids = pd.Index(encoded.dictionary.to_pandas(), dtype="str")
    order = ids.argsort()
    rank = np.empty(len(ids), dtype=np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], ids[order]


def read_first_attempts(
    context: JobContext, query: str, parts: Sequence[Mapping[str, Any]] = ({},), **params: Any
) -> FirstAttempts:
    """Read all first attempts of a query, several parts of it at once where they are given (`db.read_batches`)."""
    batches = [_with_numbers(batch) for batch in _stream(context, query, params, parts)]
    return FirstAttempts.from_arrow(pa.Table.from_batches(batches))


def read_shards(context: JobContext, query: str, size: int, **params: Any) -> Iterator[FirstAttempts]:
    """Read the first attempts of a query in one pass, some `size` rows of whole learners at a time.

    The query's rows must come learner by learner. There is a shard, if an empty one, also where it has no row.
    """
    pending: list[pa.RecordBatch] = []
    for batch in _stream(context, query, params):
        for start in range(0, max(batch.num_rows, 1), size):
            pending.append(_with_numbers(batch.slice(start, size)))
            if sum(part.num_rows for part in pending) < size:
                continue
            table = pa.Table.from_batches(pending).unify_dictionaries()
            student = table["student_id"].combine_chunks().indices.to_numpy()
            whole = int(np.flatnonzero(student != student[-1]).max(initial=-1)) + 1
            if whole:
                yield FirstAttempts.from_arrow(table.slice(0, whole))
            pending = [_with_numbers(part) for part in _with_texts(table.slice(whole)).to_batches()]
    yield FirstAttempts.from_arrow(pa.Table.from_batches(pending))


def _stream(
    context: JobContext, query: str, params: dict[str, Any], parts: Sequence[Mapping[str, Any]] = ({},)
) -> Iterator[pa.RecordBatch]:
    common = {"tenant_id": context.tenant, "as_of": context.as_of, **params}
    return db.read_batches(context.settings, query, parts=parts, **common)


def _with_numbers(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy of the batch with its texts dictionary-encoded: a repeated text takes the room of a number.

    All columns are copied, for one that is kept would keep the room of the batch's texts from being used again.
    """
    return pa.RecordBatch.from_arrays(
        [
            column.dictionary_encode() if pa.types.is_string(column.type) else pa.concat_arrays([column, column[:0]])
            for column in batch.columns
        ],
        names=batch.schema.names,
    )


def _with_texts(table: pa.Table) -> pa.Table:
    """The reverse, so that a small part of a table does not keep the texts of all of it."""
    return pa.table(
        {
            name: column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
