"""Acceleration of slow fixed-point iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    # Maps x to the next iterate and to the objective at x itself.
    Step = Callable[[Floats], tuple[Floats, float]]


# By this the longest extrapolation shrinks after a failure and grows after a success at that length.
STEP_FACTOR = 4.0


@dataclass(frozen=True)
class FixedPoint:
    """The point of the last evaluation, whether it is the fixed point, and the number of evaluations."""

    x: Floats
    converged: bool
    evaluations: int


def squarem(
    step: Step,
    start: Floats,
    *,
    tolerance: float,
    max_evaluations: int,
    project: Callable[[Floats], Floats],
    distance: Callable[[Floats, Floats], float],
    report: Callable[[int, float, float], None],
    leave: Callable[[Floats], bool],
) -> FixedPoint:
    """Fixed point of a monotone map by squared extrapolation (Varadhan and Roland, 2008, scheme S3).

    The extrapolated point is kept only if its objective is no worse than that of the point before; otherwise the
    iteration goes on from the plain iterate, which is never worse, and with shorter extrapolations until one of the
    greatest length allowed succeeds.

    Args:
        step: the map, an EM step; it yields the objective at its argument for free.
        start: first iterate.
        tolerance: the iteration ends once the distance left to the fixed point, estimated from the last two steps and
            their rate of convergence, is under it.
        max_evaluations: calls of `step` after which it gives up.
        project: brings an extrapolated point back into the parameter space.
        distance: largest difference of two points in the units of `tolerance`.
        report: called with evaluations so far, objective and last change.
        leave: whether to end at a point, for the map is no longer the right one there.
    """
    x0 = start
    x1, value0 = step(x0)
    evaluations = 1
    longest = np.inf
    while True:
        x2, value1 = step(x1)
        evaluations += 1
        first, second = x1 - x0, x2 - x1
        change = distance(x2, x1)
        report(evaluations, value1, change)
        length, shorter = float(np.linalg.norm(first)), float(np.linalg.norm(second))
        rate = shorter / length if length > 0.0 else 0.0
        converged = rate < 1.0 and change < tolerance * (1.0 - rate)
        if converged or evaluations >= max_evaluations or leave(x1):
            return FixedPoint(x1, converged, evaluations)
        curvature = float(np.linalg.norm(second - first))
        stretch = min(longest, max(1.0, length / curvature)) if curvature > 0.0 else 1.0
        x0, floor = x2, -np.inf
        if stretch > 1.0:
            x0, floor = project(x1 - first + 2.0 * stretch * first + stretch**2 * (second - first)), value1
        x1, value0 = step(x0)
        evaluations += 1
        if value0 >= floor:
            longest *= STEP_FACTOR if stretch == longest else 1.0
        else:
            longest = max(2.0, stretch / STEP_FACTOR)
            x0 = x2
            x1, value0 = step(x0)
            evaluations += 1
