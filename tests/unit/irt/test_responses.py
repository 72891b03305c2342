"""Building sparse responses from what people have: what is refused, and what stays whatever the input's form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from irt_analytics.irt import Responses

STUDENTS = ["보라", "ann", "보라", "o'neil", "ann", "🦊\n"]
ITEMS = ["q2", "q1", "q1", 'drop table "x";--', "q2", "q1"]
CORRECT = [1, 0, 1, 1, 0, 0]


def expected_rows() -> list[tuple[str, str, bool]]:
    return sorted(zip(STUDENTS, ITEMS, map(bool, CORRECT), strict=True))


def as_rows(responses: Responses) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in responses.to_frame().itertuples(index=False)]


FORMS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "numpy object": lambda ids: np.array(ids, dtype=object),
    "numpy unicode": np.array,
    "series": pd.Series,
    "categorical": lambda ids: pd.Categorical(ids, categories=["unused", *dict.fromkeys(reversed(ids))]),
    "categorical series": lambda ids: pd.Series(ids, dtype="category"),
    "arrow-backed series": lambda ids: pd.Series(ids, dtype=pd.ArrowDtype(pa.string())),
    "arrow": pa.array,
    "arrow chunks": lambda ids: pa.chunked_array([ids[:2], ids[2:]]),
    "arrow dictionary": lambda ids: pa.array(ids).dictionary_encode(),
    "arrow dictionary chunks": lambda ids: pa.chunked_array(
        [pa.array(ids[:2]).dictionary_encode(), pa.array(ids[2:]).dictionary_encode()]
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_ids_of_any_form_and_script(form: Callable[[list[str]], Any]) -> None:
    """A customer's ids are not ours to choose: quotes, newlines, Hangul, emoji, SQL, in whatever column type."""
    responses = Responses.from_long(form(STUDENTS), form(ITEMS), CORRECT)
    assert as_rows(responses) == expected_rows()
    assert (responses.n_students, responses.n_items, responses.n_responses) == (4, 3, 6)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16])
def test_integer_ids_keep_their_values_and_type(dtype: Any) -> None:
    students = pd.Series([100, 7, 100, 7], dtype=dtype)
    responses = Responses.from_long(students, np.array([5, 5, 9, 1]), [True, False, False, True])
    assert responses.student_ids.tolist() == [7, 100]
    assert responses.student_ids.dtype == dtype
    assert as_rows(responses) == [(7, 1, True), (7, 5, False), (100, 5, True), (100, 9, False)]


def test_integers_far_apart() -> None:
    """Snowflake-like ids must not allocate a table over their range."""
    responses = Responses.from_long([-(2**62), 2**62], [2**63 + 1, 2**63 + 2], [1, 0])
    assert responses.student_ids.tolist() == [-(2**62), 2**62]
    assert responses.item_ids.tolist() == [2**63 + 1, 2**63 + 2]


@pytest.mark.parametrize(
    "correct",
    [
        [True, False],
        np.array([1, 0], dtype=np.uint8),
        np.array([1.0, 0.0]),
        pd.Series([True, False], dtype="boolean"),
        pa.array([True, False]),
        np.array([True, 0], dtype=object),
        np.array([1, 0, 9])[:2][::1],
        np.array([True, True, False])[::2],
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_correct_in_any_form(correct: Any) -> None:
    assert as_rows(Responses.from_long(["s", "t"], ["i", "i"], correct)) == [("s", "i", True), ("t", "i", False)]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ((["s"], ["i", "j"], [1, 0]), ValueError, "equally long, got 1, 2 and 2 rows"),
        ((["s", None], ["i", "j"], [1, 0]), ValueError, "student_id is missing in row 1"),
        ((["s", "t"], [np.nan, "j"], [1, 0]), ValueError, "item_id is missing in row 0"),
        ((pa.array(["s", None]), ["i", "j"], [1, 0]), ValueError, "student_id is missing in row 1"),
        ((pd.Categorical(["s", None]), ["i", "j"], [1, 0]), ValueError, "student_id is missing in row 1"),
        ((pd.array([None, 3], dtype="Int64"), ["i", "j"], [1, 0]), ValueError, "student_id is missing in row 0"),
        ((["s", "t"], ["i", "j"], [1, 2]), ValueError, "correct is 2 in row 1; expected 0, 1 or a boolean"),
        ((["s", "t"], ["i", "j"], [0.5, 1]), ValueError, "correct is 0.5 in row 0; expected 0, 1 or a boolean"),
        ((["s", "t"], ["i", "j"], ["maybe", 1]), ValueError, "correct is 'maybe' in row 0; expected 0, 1"),
        ((["s", "t"], ["i", "j"], ["1", "0"]), ValueError, "correct is '1' in row 0; expected 0, 1 or a boolean"),
        ((["s", "t"], ["i", "j"], [np.nan, 1]), ValueError, "correct is missing in row 0"),
        ((["s", 3], ["i", "j"], [1, 0]), TypeError, "student_id must be of one sortable type, got a mix of int, str"),
        ((np.zeros((2, 2)), ["i", "j"], [1, 0]), ValueError, "student_id must be one-dimensional"),
        (
            (["t", "s", "s", "t"], ["i", "j", "i", "i"], [1, 0, 1, 0]),
            ValueError,
            r"learner 't' answered item 'i' more than once \(rows 0 and 3\)",
        ),
    ],
)
def test_bad_input_is_named(columns: tuple[Any, Any, Any], error: type[Exception], message: str) -> None:
    """The message must lead to the row in the customer's file."""
    with pytest.raises(error, match=message):
        Responses.from_long(*columns)


def test_first_of_repeated_answers() -> None:
    responses = Responses.from_long(list("abab"), list("iiii"), [1, 0, 0, 1], duplicates="first")
    assert as_rows(responses) == [("a", "i", True), ("b", "i", False)]


def test_no_answers_at_all() -> None:
    responses = Responses.from_long([], [], [])
    assert (responses.n_students, responses.n_items, responses.n_responses) == (0, 0, 0)


def test_input_order_changes_no_bit() -> None:
    """A rerun reads rows in another order; its results must be the same."""
    rng = np.random.default_rng(1)
    rows = np.array([(s, i) for s in range(300) for i in range(40) if rng.random() < 0.5])
    correct = rng.integers(0, 2, len(rows))
    one = Responses.from_long(rows[:, 0], rows[:, 1], correct)
    order = rng.permutation(len(rows))
    other = Responses.from_long(rows[order, 0], rows[order, 1], correct[order])
    assert one.indptr.tobytes() == other.indptr.tobytes()
    assert one.answers.tobytes() == other.answers.tobytes()


@pytest.mark.parametrize("n_items", [30, 40_000])
def test_shards_join_to_the_whole(n_items: int) -> None:
    """Learners are read shard by shard; shards differ in the items they know."""
    rng = np.random.default_rng(2)
    each = max(20, n_items // 100)
    student = np.repeat(rng.permutation(500), each)
    item = np.concatenate([rng.permutation(n_items)[:each] for _ in range(500)])
    correct = rng.integers(0, 2, len(item))
    whole = Responses.from_long(student, item, correct)
    parts = [student % 3 == remainder for remainder in (2, 0, 1)]
    joined = Responses.concat([Responses.from_long(student[p], item[p], correct[p]) for p in parts])
    assert joined.student_ids.equals(whole.student_ids)
    assert joined.item_ids.equals(whole.item_ids)
    assert joined.indptr.tobytes() == whole.indptr.tobytes()
    assert joined.answers.dtype == whole.answers.dtype == (np.uint16 if n_items < 32_768 else np.int32)
    assert joined.answers.tobytes() == whole.answers.tobytes()


def test_an_empty_shard_adds_nothing() -> None:
    """Some shards of a small tenant have no learner."""
    empty, full = Responses.from_long([], [], []), Responses.from_long([3, 1], [7, 7], [1, 0])
    joined = Responses.concat([empty, full, empty])
    assert joined.student_ids.equals(full.student_ids)
    assert joined.student_ids.dtype == full.student_ids.dtype
    assert Responses.concat([empty, empty]).n_responses == 0


def test_a_learner_in_two_shards_is_refused() -> None:
    shard = Responses.from_long(["s"], ["i"], [1])
    with pytest.raises(ValueError, match="learner 's' is in more than one shard"):
        Responses.concat([shard, shard])
    with pytest.raises(ValueError, match="no shard"):
        Responses.concat([])


def test_counts_by_item() -> None:
    responses = Responses.from_long(STUDENTS, ITEMS, CORRECT)
    by_item = dict(zip(responses.item_ids, responses.item_counts().tolist(), strict=True))
    assert by_item == {'drop table "x";--': [0, 1], "q1": [2, 1], "q2": [1, 1]}
