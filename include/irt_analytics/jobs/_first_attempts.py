"""First attempts as arrays, learner shard by learner shard, and which of them count as evidence of ability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.runner import JobContext, JobRecord

#: Learners are hashed into this many buckets; a shard is a run of whole buckets.
BUCKETS = 1024
#: First attempts read at a time: some 100 MB while their texts are turned into numbers.
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
        """Number the learners and items of a query's rows: student_id, item_id, correct, response_time_ms, timed_out.

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

    @classmethod
    def concat(cls, shards: list[FirstAttempts]) -> FirstAttempts:
        """Join shards of different learners."""
        if len(shards) == 1:
            return shards[0]
        item_ids = shards[0].item_ids
        for shard in shards[1:]:
            item_ids = item_ids.union(shard.item_ids)
        offsets = np.cumsum([0, *(len(shard.student_ids) for shard in shards)])
        return cls(
            student_ids=shards[0].student_ids.append([shard.student_ids for shard in shards[1:]]),
            item_ids=item_ids,
            student=np.concatenate(
                [shard.student + np.int32(offset) for shard, offset in zip(shards, offsets, strict=False)]
            ),
            item=np.concatenate(
                [item_ids.get_indexer(shard.item_ids).astype(np.int32)[shard.item] for shard in shards]
            ),
            correct=np.concatenate([shard.correct for shard in shards]),
            time_ms=np.concatenate([shard.time_ms for shard in shards]),
            timed_out=np.concatenate([shard.timed_out for shard in shards]),
            columns={
                name: pa.chunked_array([chunk for shard in shards for chunk in shard.columns[name].chunks])
                for name in shards[0].columns
            },
        )

    def __len__(self) -> int:
        return len(self.student)

    def median_times(self) -> NDArray[np.float64]:
        """Median response time of every item in milliseconds over answers in time; NaN where none is recorded."""
        recorded = (self.time_ms >= 0) & ~self.timed_out
        median = pd.Series(self.time_ms[recorded]).groupby(self.item[recorded]).median()
        return median.reindex(np.arange(len(self.item_ids))).to_numpy(dtype=np.float64)

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
        return (self.time_ms >= 0) & ~self.timed_out & (self.time_ms < RAPID_SHARE * median_times[self.item])


def _encode(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pd.Index[Any]]:
    """Position of every text among the sorted, unique ones."""
    encoded = column.dictionary_encode().combine_chunks()
    ids = pd.Index(encoded.dictionary.to_pandas(), dtype="str")
    order = ids.argsort()
    rank = np.empty(len(ids), dtype=np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], ids[order]


def learner_shards(rows: int, asked: int) -> list[list[int]]:
    """Divide the hash buckets of learners into shards, at least as many as asked and as `rows` answers need."""
    shards = min(BUCKETS, max(asked, -(-rows // ATTEMPTS_A_SHARD)))
    return [part.tolist() for part in np.array_split(np.arange(BUCKETS), shards)]


def read_shards(context: JobContext, query: str, shards: list[list[int]], **params: Any) -> Iterator[FirstAttempts]:
    """Read the first attempts of a query, shard after shard."""
    for buckets in shards:
        yield FirstAttempts.from_arrow(
            db.read_arrow(context.settings, query, tenant_id=context.tenant, buckets=buckets, **params)
        )
