"""Threads that share the ranges of a kernel's work."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from irt_analytics.irt._workers import Workers

RANGES = [(0, 1), (1, 2), (2, 2), (2, 3), (3, 4)]


def test_results_come_in_the_order_of_their_ranges() -> None:
    with ThreadPoolExecutor(1) as pool:
        for run in (Workers(None, 1), Workers(pool, 2)):
            assert run(lambda first, last, add: first + last + add, RANGES, 10) == [11, 13, 15, 17]


@pytest.mark.parametrize("long", [0, 1])
def test_while_one_thread_is_at_a_long_range_the_other_does_the_rest(long: int) -> None:
    """Else ranges that are cut small, to be shared, would all wait for one thread."""
    rest, done = threading.Event(), []

    def kernel(first: int, last: int) -> bool:  # noqa: ARG001
        if first == long:
            return rest.wait(30)
        done.append(first)
        if len(done) == 3:
            rest.set()
        return True

    with ThreadPoolExecutor(1) as pool:
        assert Workers(pool, 2)(kernel, RANGES) == [True] * 4


@pytest.mark.parametrize("failing", range(4))
def test_an_error_in_any_range_is_the_callers(failing: int) -> None:
    def kernel(first: int, last: int) -> Any:  # noqa: ARG001
        if first == failing:
            raise ValueError(f"range {first}")

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=f"range {failing}"):
        Workers(pool, 2)(kernel, RANGES)
