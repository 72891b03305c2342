"""Inverse of a symmetric positive definite matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from irt_analytics.irt._kernels import cholesky as kernels
from irt_analytics.irt._workers import Workers, split_evenly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def inverse(matrix: Floats, run: Workers) -> Floats | None:
    """Inverse of a symmetric matrix by its Cholesky factor; None where it is not positive definite.

    Only the lower triangle is read. No bit of the result depends on the number of threads.
    """
    n = len(matrix)
    factor = np.tril(matrix)
    for start in range(0, n, kernels.PANEL):
        stop = min(start + kernels.PANEL, n)
        before = np.ascontiguousarray(factor[start:stop, :start].T)
        run(kernels.reduce_rows, _split(start, n, run), factor, before, start, stop)
        if not kernels.factor_panel(factor, start, stop):
            return None
        upper = np.ascontiguousarray(factor[start:stop, start:stop].T)
        run(kernels.solve_rows, _split(stop, n, run), factor, upper, start, stop)
    panels = [(panel, panel + 1) for panel in range(-(-n // kernels.PANEL))]
    triangular, product = np.zeros_like(factor), np.zeros_like(factor)
    run(kernels.invert_factor, panels, factor, triangular)
    run(kernels.square_factor, panels, triangular, np.ascontiguousarray(triangular.T), product)
    lower = np.tril(product)
    symmetric: Floats = lower + np.tril(lower, -1).T
    return symmetric


def _split(first: int, last: int, run: Workers) -> list[tuple[int, int]]:
    return split_evenly(np.arange(last + 1), run.threads, first, last)
