"""The way to the maximum: from a sample of the learners on a coarse grid to all of them on the final one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irt_analytics.irt._kernels.posterior import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from irt_analytics.irt._em import Estimation
    from irt_analytics.irt.quadrature import Quadrature
    from irt_analytics.irt.responses import Responses

# With this many blocks of learners or more, the first iterations see a sample of them.
_MANY_BLOCKS = 32
_SAMPLED_BLOCKS = 8
_SAMPLE_TOLERANCE = 1e-2
# From this many answers on, the iterations before the last ones use every other node of a fine grid. With up to this
# many answers a learner, posteriors are so wide that those iterations end where the full grid would; else they stop
# early.
_MANY_ANSWERS = 100_000
_MANY_NODES = 41
_COARSE_ANSWERS = 64
_COARSE_TOLERANCE = 1e-3
# Groups that answer mostly items of their own find their places slowly while every slope can stretch their scale: they
# are brought near them with equal slopes first.
_GROUPS_TOLERANCE = 1e-2
# Where a group reaches beyond the grid, this is added to what it needs: means still move.
_SPARE = 1.0


@dataclass(frozen=True)
class Maximum:
    """Where the EM ended.

    Attributes:
        converged: whether the distance to the maximum fell under the tolerance.
        iterations: E-steps taken.
        runaway: items without a finite estimate, which were taken out on the way; shape (n_items,).
        quadrature: the last grid.
    """

    converged: bool
    iterations: int
    runaway: NDArray[np.bool_]
    quadrature: Quadrature


def maximise(
    estimation: Estimation,
    grid: Quadrature,
    *,
    tolerance: float,
    max_iterations: int,
    progress: Callable[[int, float, float], None],
) -> Maximum:
    """Bring the estimation to its maximum; see `calibrate` for the arguments."""
    done = 0

    def report(evaluations: int, value: float, change: float) -> None:
        progress(done + evaluations, value, change)

    if estimation.linked_by_common_items:
        with estimation.equal_slopes():
            end = estimation.maximise(
                grid.nodes, tolerance=_GROUPS_TOLERANCE, max_evaluations=max_iterations - done, report=report
            )
        done += end.evaluations
        grid = _covering(grid, estimation)
    for stage_tolerance, sample in _preliminary_stages(estimation.blocks.responses, grid, tolerance):
        end = estimation.maximise(
            grid.half.nodes,
            tolerance=stage_tolerance,
            max_evaluations=max_iterations - done,
            report=report,
            blocks=sample,
        )
        done += end.evaluations
        grid = _covering(grid, estimation)
    runaway = np.zeros(len(estimation.items.a), dtype=bool)
    while True:
        end = estimation.maximise(grid.nodes, tolerance=tolerance, max_evaluations=max_iterations - done, report=report)
        done += end.evaluations
        wider = _covering(grid, estimation)
        at_bound = estimation.without_finite_estimate()
        if wider != grid and not end.converged:
            at_bound[:] = False  # it left for a wider grid: what is at a bound here need not be there
        if not at_bound.any() and wider == grid:
            return Maximum(end.converged, done, runaway, grid)
        runaway |= at_bound
        estimation.exclude(at_bound)
        grid = wider


def _covering(grid: Quadrature, estimation: Estimation) -> Quadrature:
    """The grid, extended where a group reaches beyond it."""
    lower, upper = estimation.latent.reach
    if lower >= grid.lower and upper <= grid.upper:
        return grid
    return grid.extended(
        lower - _SPARE if lower < grid.lower else lower, upper + _SPARE if upper > grid.upper else upper
    )


def _preliminary_stages(
    responses: Responses, grid: Quadrature, tolerance: float
) -> list[tuple[float, NDArray[np.int64] | None]]:
    """Tolerance and blocks (None: all) of the EM stages that take half the nodes."""
    if responses.n_responses < _MANY_ANSWERS or grid.n_nodes < _MANY_NODES or grid.n_nodes % 2 == 0:
        return []
    few_answers_each = responses.n_responses <= _COARSE_ANSWERS * responses.n_students
    stages: list[tuple[float, NDArray[np.int64] | None]] = [
        (tolerance if few_answers_each else max(tolerance, _COARSE_TOLERANCE), None)
    ]
    n_blocks = -(-responses.n_students // BLOCK)
    if n_blocks >= _MANY_BLOCKS:
        sample = np.arange(0, n_blocks, n_blocks // _SAMPLED_BLOCKS)
        stages.insert(0, (max(tolerance, _SAMPLE_TOLERANCE), sample))
    return stages
