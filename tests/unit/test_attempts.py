"""Answers that several sessions of the database send, as shards of whole learners."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from irt_analytics.errors import ConfigurationError
from irt_analytics.jobs._attempts import Attempts, compact, whole_learners

SCHEMA = pa.schema(
    {"student_id": pa.string(), "item_id": pa.string(), "response_time_ms": pa.int32(), "flags": pa.int16()}
)


def part(answers: list[tuple[str, int]], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of so many rows, at least one; an answer's response time is its number."""
    table = pa.table(
        {
            "student_id": [student for student, _ in answers],
            "item_id": [f"i{number % 7}" for _, number in answers],
            "response_time_ms": [number for _, number in answers],
            "flags": [number % 3 + 32 for _, number in answers],
        },
        schema=SCHEMA,
    )
    batches = table.to_batches(max_chunksize=rows) or [pa.RecordBatch.from_pylist([], schema=SCHEMA)]
    return iter([compact(batch) for batch in batches])


def rows_of(shard: Attempts) -> list[tuple[str, int]]:
    """Its answers, in their order."""
    return list(zip(shard.student_ids[shard.student], shard.time_ms.tolist(), strict=True))


@pytest.mark.parametrize("size", [1, 40, 300, 10_000])
@pytest.mark.parametrize("rows", [7, 100])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_learner_is_whole_in_one_shard_and_they_come_in_order(parts: int, rows: int, size: int) -> None:
    """A learner in two shards would get two rows of everything; out of order, an index is written all over."""
    rng = np.random.default_rng(parts * rows)
    learners = sorted(["é", "z", "Z", "learner 1", "learner 10", *(f"u{number}" for number in range(60))])
    answers = [(student, number) for student in learners for number in rng.integers(0, 10_000, rng.integers(1, 30))]
    of_part = {student: int(rng.integers(parts)) for student in learners}
    shards = list(whole_learners([part([a for a in answers if of_part[a[0]] == p], rows) for p in range(parts)], size))
    found = [rows_of(shard) for shard in shards]
    ids = [list(shard.student_ids) for shard in shards]
    assert [student for each in ids for student in each] == learners
    assert sorted(answer for each in found for answer in each) == sorted(answers)
    if size == 1:
        assert len(shards) > 10


def test_a_part_without_rows_and_parts_of_unequal_length_lose_nothing() -> None:
    long = [(f"u{number:03}", number) for number in range(500)]
    shards = list(whole_learners([part(long, 50), part([], 50), part([("a", 1), ("u250b", 2)], 50)], 60))
    assert [student for shard in shards for student in shard.student_ids] == sorted(
        ["a", "u250b", *(student for student, _ in long)]
    )
    assert max(len(shard) for shard in shards) < 200


def test_without_any_row_there_is_an_empty_shard() -> None:
    (shard,) = whole_learners([part([], 5), part([], 5)], 10)
    assert len(shard) == 0


def test_learners_out_of_order_are_refused() -> None:
    """They would be in two shards: a database of another encoding orders their ids otherwise."""
    korean = [("가", 1), ("一", 2), ("丁", 3), ("丁", 4), ("丁", 5)]
    with pytest.raises(ConfigurationError, match=r"learner '가' came before .* UTF8"):
        list(whole_learners([part(korean, 2), part([("一二", 1), ("龍", 2)], 2)], 3))


def test_flags_are_taken_apart() -> None:
    """correct (2: not known), 4 timed out, 8 seen before, 16 times hint_used (2: not known)."""
    flags = pa.array([0, 1, 2, 1 + 4, 8 + 32, 1 + 16], type=pa.int16())
    batch = compact(pa.RecordBatch.from_arrays([flags], names=["flags"])).to_pydict()
    assert batch == {
        "correct": [False, True, None, True, False, True],
        "timed_out": [False, False, False, True, False, False],
        "seen_before": [False, False, False, False, True, False],
        "hint_used": [False, False, False, False, None, True],
    }
