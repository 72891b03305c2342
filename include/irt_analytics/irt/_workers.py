"""Threads for kernels that release the GIL."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Ranges = Sequence[tuple[int, int]]


class Workers:
    """Runs a kernel over ranges of its work, one thread each.

    Which thread does a range, and how many there are, changes no result: a kernel writes to places of its own range
    only, and a sum over learners is taken within a range in their order.
    """

    def __init__(self, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self._pool = pool
        self.threads = threads

    def __call__(self, kernel: Callable[..., Any], ranges: Ranges, *args: Any) -> list[Any]:
        """Call kernel(first, last, *args) for every range and return the results in their order."""
        ranges = [(first, last) for first, last in ranges if last > first]
        if self._pool is None or len(ranges) < 2:
            return [kernel(first, last, *args) for first, last in ranges]
        results: list[Any] = [None] * len(ranges)
        waiting = deque(enumerate(ranges))

        def work() -> None:
            while waiting:
                try:
                    place, (first, last) = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                results[place] = kernel(first, last, *args)

        others = [self._pool.submit(work) for _ in range(min(self.threads, len(ranges)) - 1)]
        try:
            work()
        finally:
            waiting.clear()  # after a signal nobody waits for what has not begun
        for other in others:
            other.result()
        return results


@contextmanager
def workers() -> Iterator[Workers]:
    """As many threads as NUMBA_NUM_THREADS says, by default one for each processor this process may use."""
    threads = max(1, int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # set at import
    if threads == 1:
        yield Workers(None, 1)
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="irt") as pool:
        yield Workers(pool, threads)


def split_evenly(
    cumulative: NDArray[Any], parts: int, first: int = 0, last: int | None = None
) -> list[tuple[int, int]]:
    """Split rows first..last into ranges of about equal work, `cumulative` being the work before each row.

    Every row counts for one unit beside its own work, so that empty rows are spread too.
    """
    last = len(cumulative) - 1 if last is None else last
    work = cumulative[first : last + 1] - cumulative[first] + np.arange(last - first + 1)
    cuts = np.searchsorted(work, work[-1] * np.arange(1, parts) / parts) if last > first else []
    edges = [first, *(first + int(cut) for cut in cuts), last]
    return list(pairwise(edges))
