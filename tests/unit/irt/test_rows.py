"""Sums of rows in the E-step's own vectors, against the same sums in numpy."""

from typing import Any

import numpy as np
import pytest
from numba.core.errors import TypingError
from numpy.typing import NDArray

from irt_analytics.irt._kernels.rows import LANES, add_rows, largest


def in_numpy(table: NDArray[np.float64], rows: NDArray[np.int64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Four rows at a time, the rest one by one, as `add_rows` promises."""
    whole = len(rows) // 4 * 4
    for t0, t1, t2, t3 in table[rows[:whole]].reshape(-1, 4, table.shape[1]):
        total = total + ((t0 + t1) + (t2 + t3))
    for row in table[rows[whole:]]:
        total = total + row
    return total


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("n_rows", [0, 3, 4, 50])
@pytest.mark.parametrize("width", [LANES, 4 * LANES, 5 * LANES, 9 * LANES])
def test_the_sums_are_numpys_to_the_bit(dtype: type[np.integer[Any]], n_rows: int, width: int) -> None:
    """A column left out, read twice or added in another order would move every estimate."""
    rng = np.random.default_rng(width + n_rows)
    table = rng.normal(size=(40_000, width + LANES))
    rows = rng.integers(0, len(table), n_rows).astype(dtype)
    for start in (0, 5, LANES):
        beside = rng.normal(size=width + 2 * LANES)
        total = beside[LANES : LANES + width]
        expected = beside.copy()
        expected[LANES : LANES + width] = in_numpy(
            table[:, start : start + width], rows.astype(np.int64), expected[LANES : LANES + width]
        )
        add_rows(table, rows, start, total)
        assert np.array_equal(beside, expected)


@pytest.mark.parametrize("wrong", ["table", "rows", "total"])
def test_arrays_that_would_be_read_wrongly_are_refused(wrong: str) -> None:
    arrays: dict[str, Any] = {
        "table": np.zeros((2, LANES)),
        "rows": np.zeros(1, dtype=np.int64),
        "total": np.zeros(LANES),
    }
    arrays[wrong] = arrays[wrong].astype(np.float32)
    with pytest.raises(TypingError, match="expected contiguous arrays"):
        add_rows(arrays["table"], arrays["rows"], 0, arrays["total"])


@pytest.mark.parametrize("width", [LANES, 2 * LANES, 9 * LANES])
def test_the_largest_is_found_wherever_it_stands(width: int) -> None:
    row = np.random.default_rng(width).normal(size=width)
    row[0] = -np.inf
    for place in range(width):
        found = row.copy()
        found[place] = 9.0
        assert largest(found) == 9.0
    assert largest(np.full(width, -np.inf)) == -np.inf


def test_an_array_whose_largest_would_be_read_wrongly_is_refused() -> None:
    wrongs: list[Any] = [np.zeros(LANES, dtype=np.float32), np.zeros(2 * LANES)[::2]]
    for wrong in wrongs:
        with pytest.raises(TypingError, match="expected a contiguous array"):
            largest(wrong)
