"""Answers that several sessions of the database send, as shards of whole learners."""

import numpy as np
import pyarrow as pa
import pytest

from irt_analytics.jobs import _attempts
from irt_analytics.jobs._attempts import Attempts, compact, passes
from irt_analytics.runner import Shard

SCHEMA = pa.schema(
    {
        "student_id": pa.string(),
        "item_id": pa.string(),
        "session_id": pa.string(),
        "response_time_ms": pa.int32(),
        "attempt_no": pa.int32(),
        "flags": pa.int16(),
    }
)


def batches(answers: list[tuple[str, int]], rows: int) -> list[pa.RecordBatch]:
    """Batches of so many rows, at least one; an answer's response time is its number."""
    table = pa.table(
        {
            "student_id": [student for student, _ in answers],
            "item_id": [f"i{number % 7}" for _, number in answers],
            "session_id": [f"s{number % 5}" if number % 5 else None for _, number in answers],
            "response_time_ms": [number for _, number in answers],
            "attempt_no": [number if number % 3 else None for _, number in answers],
            "flags": [number % 3 + 32 for _, number in answers],
        },
        schema=SCHEMA,
    )
    found = table.to_batches(max_chunksize=rows) or [pa.RecordBatch.from_pylist([], schema=SCHEMA)]
    return [compact(batch) for batch in found]


@pytest.mark.parametrize("size", [1, 40, 300, 10_000])
@pytest.mark.parametrize("rows", [7, 100])
def test_every_learner_is_whole_in_one_shard_and_they_come_in_order(rows: int, size: int) -> None:
    """A learner in two shards would get two rows of everything; out of order, an index is written all over."""
    rng = np.random.default_rng(rows)
    learners = sorted(["é", "z", "Z", "learner 1", "learner 10", "가", "一", *(f"u{number}" for number in range(60))])
    answers = [
        (student, int(number)) for student in learners for number in rng.integers(0, 10_000, rng.integers(1, 30))
    ]
    answers = [answers[place] for place in rng.permutation(len(answers))]
    shards = list(Attempts.from_batches(batches(answers, rows)).by_learner(size))
    assert [student for shard in shards for student in shard.student_ids] == learners
    found: list[tuple[str, int]] = []
    for shard in shards:
        found += zip(shard.student_ids[shard.student], shard.time_ms.tolist(), strict=True)
        assert list(shard.item_ids[shard.item]) == [f"i{number % 7}" for number in shard.time_ms]
        names = np.append(shard.ids["session_id"], "")[shard.texts["session_id"]]
        assert list(names) == [f"s{number % 5}" if number % 5 else "" for number in shard.time_ms]
        assert shard.columns["attempt_no"].to_pylist() == [int(n) if n % 3 else None for n in shard.time_ms]
        assert list(shard.known) == [number % 3 != 2 for number in shard.time_ms]
        assert list(shard.correct) == [number % 3 == 1 for number in shard.time_ms]
    assert sorted(found) == sorted(answers)
    assert max(len(shard) for shard in shards) < size + 30
    if size == 1:
        assert len(shards) == len(learners)


def test_without_any_row_there_is_an_empty_shard() -> None:
    (shard,) = Attempts.from_batches([*batches([], 5), *batches([], 5)]).by_learner(10)
    assert len(shard) == len(shard.student_ids) == 0


@pytest.mark.parametrize("shard", [None, Shard(2, 3)])
def test_every_bucket_of_learners_is_in_one_session_of_one_pass(
    shard: Shard | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One left out would lose learners, one in two would give them two rows of everything."""
    monkeypatch.setattr(_attempts, "ATTEMPTS_A_PASS", 5_000_000)
    first, last = (shard or Shard(1, 1)).buckets()
    for answers, expected in ((0, [1]), (1_999_999, [1]), (5_000_000, [2]), (5_000_001, [2, 2]), (17_000_000, [2] * 4)):
        found = passes(shard, answers)
        assert [len(parts) for parts in found] == expected
        buckets = [
            bucket
            for parts in found
            for part in parts
            for bucket in range(part["first_bucket"], part["last_bucket"] + 1)
        ]
        assert buckets == list(range(first, last + 1))


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
