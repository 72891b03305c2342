"""Sparse item responses: who answered what, and whether it was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from irt_analytics.irt._kernels import responses as kernels
from irt_analytics.irt._text import quoted
from irt_analytics.irt._workers import split_evenly, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Answers = NDArray[np.uint16 | np.int32]

# A lookup table replaces hashing for integer ids whose range is at most this many times the number of answers.
_DENSE_RANGE = 4
# Answers whose ids are looked up at a time, to keep 64-bit copies small.
_PIECE = 1_000_000


@dataclass(frozen=True, eq=False)
class Responses:
    """Answers of learners to items, one per learner and item, in learner-major compressed rows.

    Learners and items stand in the order of their sorted ids and every learner's answers in the order of the items, so
    that equal sets of answers give equal arrays, whatever order they came in.

    Attributes:
        student_ids: sorted, unique ids of the learners, length n_students.
        item_ids: sorted, unique ids of the items, length n_items.
        indptr: int64, length n_students + 1; the answers of learner i are `answers[indptr[i]:indptr[i + 1]]`.
        answers: 2 * item index + correct of every answer; uint16 up to 32,768 items, else int32.
    """

    student_ids: pd.Index[Any]
    item_ids: pd.Index[Any]
    indptr: NDArray[np.int64]
    answers: Answers

    @classmethod
    def from_long(
        cls,
        student_id: Any,
        item_id: Any,
        correct: Any,
        *,
        duplicates: Literal["error", "first"] = "error",
    ) -> Self:
        """Build from three equally long columns, a row per answer, in any order.

        Args:
            student_id: ids of any one sortable type: numpy, pandas (categoricals without a copy of the values), a
                pyarrow array (dictionary-encoded ones likewise), or a list.
            item_id: the same for the items.
            correct: booleans, or numbers that are 0 or 1.
            duplicates: the model takes the answers of a learner as independent given theta, which repeats of one item
                are not. "error" refuses rows that repeat a learner and an item; "first" keeps the first of them in
                input order.

        Raises:
            ValueError: columns of different length, a missing id, a `correct` other than 0 and 1, or a repeated
                learner and item; the message names the value and its row (from 0).
            TypeError: ids of types that cannot be sorted together.
        """
        lengths = len(student_id), len(item_id), len(correct)
        if len(set(lengths)) > 1:
            raise ValueError(
                "student_id, item_id and correct must be equally long, got "
                f"{lengths[0]}, {lengths[1]} and {lengths[2]} rows"
            )
        if duplicates not in ("error", "first"):
            raise ValueError(f"duplicates must be 'error' or 'first', got {duplicates!r}")
        codes, item_ids = _encode(item_id, "item_id")
        items: Answers = codes.astype(_answer_dtype(len(item_ids)), copy=False)
        del codes
        students, student_ids = _encode(student_id, "student_id")
        right = _as_binary(correct)
        indptr, answers = _compress(students, items, right, len(student_ids), len(item_ids))
        repeated = _sort_rows(indptr, answers)
        if repeated >= 0:
            if duplicates == "error":
                raise ValueError(_describe_repeat(students, items, indptr, answers, repeated, student_ids, item_ids))
            first = ~pd.MultiIndex.from_arrays([students, items]).duplicated()
            indptr, answers = _compress(students[first], items[first], right[first], len(student_ids), len(item_ids))
            _sort_rows(indptr, answers)
        return cls(student_ids, item_ids, indptr, answers)

    @classmethod
    def concat(cls, shards: Sequence[Responses]) -> Self:
        """Join shards that hold different learners; the same as building from all their answers at once.

        Raises:
            ValueError: no shard, or a learner in more than one of them.
        """
        if not shards:
            raise ValueError("there is no shard to join")
        # An empty shard does not know the type of the ids.
        shards = [shard for shard in shards if shard.n_students] or shards[:1]
        student_ids = _append([shard.student_ids for shard in shards])
        if not student_ids.is_unique:
            twice = student_ids[student_ids.duplicated()][0]
            raise ValueError(f"learner {quoted(twice)} is in more than one shard; a shard must hold whole learners")
        item_ids = _sorted(_append([shard.item_ids for shard in shards]).unique(), "item_id")
        dtype = _answer_dtype(len(item_ids))
        order = student_ids.argsort()
        counts = np.concatenate([np.diff(shard.indptr) for shard in shards])[order]
        indptr = np.zeros(len(order) + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        position = np.empty(len(order), dtype=np.int64)
        position[order] = np.arange(len(order))
        answers = np.empty(indptr[-1], dtype=dtype)
        start = 0
        for shard in shards:
            columns = item_ids.get_indexer(shard.item_ids).astype(np.int32)
            rows = position[start : start + shard.n_students]
            kernels.copy_rows(shard.indptr, shard.answers, columns, rows, indptr, answers)
            start += shard.n_students
        return cls(student_ids[order], item_ids, indptr, answers)

    @property
    def n_students(self) -> int:
        """Number of learners."""
        return len(self.student_ids)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @property
    def n_responses(self) -> int:
        """Number of answers."""
        return len(self.answers)

    def __repr__(self) -> str:
        return f"Responses({self.n_students:,} learners x {self.n_items:,} items, {self.n_responses:,} answers)"

    def item_counts(self) -> NDArray[np.int64]:
        """Wrong and right answers to every item, shape (n_items, 2)."""
        return kernels.count_answers(self.answers, 2 * self.n_items).reshape(-1, 2)

    def to_frame(self) -> pd.DataFrame:
        """The answers as a frame: student_id, item_id, correct (bool)."""
        rows = np.repeat(np.arange(self.n_students), np.diff(self.indptr))
        return pd.DataFrame(
            {
                "student_id": self.student_ids.take(rows),
                "item_id": self.item_ids.take(self.answers >> 1),
                "correct": (self.answers & 1).astype(bool),
            }
        )


def _answer_dtype(n_items: int) -> type[np.uint16] | type[np.int32]:
    if 2 * n_items > np.iinfo(np.int32).max:
        raise ValueError(f"at most {np.iinfo(np.int32).max // 2:,} items are supported, got {n_items:,}")
    return np.uint16 if 2 * n_items <= np.iinfo(np.uint16).max + 1 else np.int32


def _compress(
    students: NDArray[np.int32],
    items: Answers,
    right: NDArray[np.uint8],
    n_students: int,
    n_items: int,
) -> tuple[NDArray[np.int64], Answers]:
    """Answers gathered by learner; a stable counting sort."""
    indptr = np.zeros(n_students + 1, dtype=np.int64)
    answers = np.empty(len(students), dtype=_answer_dtype(n_items))
    kernels.gather_by_student(students, items, right, indptr, answers)
    return indptr, answers


def _sort_rows(indptr: NDArray[np.int64], answers: Answers) -> int:
    """Sort every learner's answers in place; the first position where an item repeats, or -1."""
    with workers() as run:
        found = run(kernels.sort_rows, split_evenly(indptr, run.threads), indptr, answers)
    return next((position for position in found if position >= 0), -1)


def _describe_repeat(
    students: NDArray[np.int32],
    items: Answers,
    indptr: NDArray[np.int64],
    answers: Answers,
    position: int,
    student_ids: pd.Index[Any],
    item_ids: pd.Index[Any],
) -> str:
    student = int(np.searchsorted(indptr, position, side="right")) - 1
    item = int(answers[position]) >> 1
    rows = np.flatnonzero((students == student) & (items == item))[:2]
    return (
        f"learner {quoted(student_ids[student])} answered item {quoted(item_ids[item])} more than once (rows {rows[0]} "
        f"and {rows[1]}); expected one answer per learner and item, such as the first attempt (duplicates='first')"
    )


def _append(indexes: list[pd.Index[Any]]) -> pd.Index[Any]:
    return indexes[0].append(indexes[1:]) if len(indexes) > 1 else indexes[0]


def _sorted(ids: pd.Index[Any], name: str) -> pd.Index[Any]:
    try:
        return ids.sort_values()
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in ids})
        raise TypeError(f"{name} must be of one sortable type, got a mix of {', '.join(kinds)}") from error


def _encode(ids: Any, name: str) -> tuple[NDArray[np.int32], pd.Index[Any]]:
    """Position of every id among the sorted, unique ids."""
    values = _as_pandas(ids, name)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low <= _DENSE_RANGE * len(values) and high <= np.iinfo(np.int64).max:
            return _encode_dense(values, low, high)
    if isinstance(values, pd.Categorical):
        codes, uniques = np.asarray(values.codes), pd.Index(values.categories)
        used = np.zeros(len(uniques) + 1, dtype=bool)
        used[codes] = True  # a missing value is -1, the last place
        if not used[-1] and not used[:-1].all():
            uniques = uniques[used[:-1]]
            codes = (np.cumsum(used) - 1)[codes]
    else:
        factorized, uniques = pd.factorize(values)
        codes, uniques = np.asarray(factorized), pd.Index(uniques)
    if len(codes) and codes.min() < 0:
        raise ValueError(f"{name} is missing in row {int(np.argmin(codes))}; every answer needs an id")
    ordered = _sorted(uniques, name)
    rank = ordered.get_indexer(uniques).astype(np.int32)
    return rank[codes] if len(rank) else np.empty(0, dtype=np.int32), ordered


def _encode_dense(values: NDArray[Any], low: int, high: int) -> tuple[NDArray[np.int32], pd.Index[Any]]:
    rank = np.zeros(high - low + 1, dtype=np.int32)
    pieces = [slice(start, start + _PIECE) for start in range(0, len(values), _PIECE)]
    for piece in pieces:
        rank[values[piece].astype(np.int64) - low] = 1
    present = np.flatnonzero(rank)
    rank[present] = np.arange(len(present), dtype=np.int32)
    codes = np.empty(len(values), dtype=np.int32)
    for piece in pieces:
        codes[piece] = rank[values[piece].astype(np.int64) - low]
    return codes, pd.Index((present + low).astype(values.dtype))


def _as_pandas(ids: Any, name: str) -> Any:
    """A numpy or pandas one-dimensional array of the ids, dictionary-encoded ones as a categorical."""
    if hasattr(ids, "combine_chunks"):  # a chunked pyarrow array
        ids = ids.unify_dictionaries().combine_chunks()
    if hasattr(ids, "dictionary_encode") and hasattr(ids, "dictionary"):  # a dictionary-encoded pyarrow array
        codes = ids.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return pd.Categorical.from_codes(codes, categories=pd.Index(ids.dictionary.to_pandas()))
    if hasattr(ids, "dictionary_encode"):  # any other pyarrow array
        return _as_pandas(ids.dictionary_encode(), name)
    if not isinstance(ids, np.ndarray):
        ids = pd.Series(ids).array
        if not isinstance(ids, pd.Categorical) and ids.dtype.kind in "iu" and not ids.isna().any():
            ids = ids.to_numpy()
    if getattr(ids, "ndim", 1) != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {ids.shape}")
    return ids


def _as_binary(correct: Any) -> NDArray[np.uint8]:
    """0 and 1 as bytes."""
    if isinstance(correct, np.ndarray) and correct.dtype == np.bool_:
        return correct.astype(np.uint8)
    values = correct if isinstance(correct, np.ndarray) else pd.Series(_as_plain(correct)).array
    missing = pd.isna(values)
    if np.any(missing):
        raise ValueError(f"correct is missing in row {int(np.argmax(missing))}; expected 0, 1 or a boolean")
    array = np.asarray(values)
    wrong = ~np.isin(array, (0, 1)) if array.dtype.kind in "biuf" else _not_binary(array)
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise ValueError(f"correct is {quoted(array[row])} in row {row}; expected 0, 1 or a boolean")
    return array.astype(np.uint8)


def _as_plain(correct: Any) -> Any:
    return correct.to_numpy(zero_copy_only=False) if hasattr(correct, "dictionary_encode") else correct


def _not_binary(array: NDArray[Any]) -> NDArray[np.bool_]:
    allowed = (bool, int, float, np.bool_, np.integer, np.floating)
    return np.array([not (isinstance(value, allowed) and value in (0, 1)) for value in array], dtype=bool)
