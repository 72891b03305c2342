"""Acceleration of slow fixed-point iterations."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    # Maps x to the next iterate and to the objective at x itself.
    Step = Callable[[Floats], tuple[Floats, float]]


#: Steps that an extrapolation looks back on.
MEMORY = 10
#: Share of their squared lengths that keeps steps of nearly one direction apart.
RIDGE = 1e-10
#: Share of the objective that is rounding and no loss.
ROUNDING = 1e-13
#: By these the longest extrapolation shrinks after a failure and grows after a success at that length.
SHRINK, GROW = 4.0, 2.0


@dataclass(frozen=True)
class FixedPoint:
    """The point of the last evaluation, whether it is the fixed point, and the number of evaluations."""

    x: Floats
    converged: bool
    evaluations: int


class _Memory:
    """The last steps, and by how much the residual changed with each."""

    def __init__(self) -> None:
        self._steps: deque[Floats] = deque(maxlen=MEMORY)
        self._changes: deque[Floats] = deque(maxlen=MEMORY)

    def add(self, step: Floats, change: Floats) -> None:
        # A step that changes nothing tells nothing.
        if change.any():
            self._steps.append(step)
            self._changes.append(change)

    def clear(self) -> None:
        self._steps.clear()
        self._changes.clear()

    def beyond(self, residual: Floats) -> Floats:
        """From the image of the point with this residual to where it would vanish, were it linear in the steps."""
        if not self._steps:
            return np.zeros_like(residual)
        steps, changes = np.array(self._steps), np.array(self._changes)
        # Sums by einsum, whose order of adding depends on no number of threads.
        products = np.einsum("ik,jk->ij", changes, changes)
        length = np.sqrt(np.diag(products))
        products = products / np.outer(length, length) + RIDGE * np.eye(len(length))
        weights = np.linalg.solve(products, np.einsum("ik,k->i", changes, residual) / length) / length
        further: Floats = -np.einsum("i,ik->k", weights, steps + changes)
        return further

    def slowest(self) -> float:
        """Least change of the residual by a unit of a step: one less the rate of convergence in that direction."""
        return min(
            (_norm(change) / _norm(step) for change, step in zip(self._changes, self._steps, strict=True)), default=0.0
        )


def anderson(
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
    """Fixed point of a monotone map by Anderson's (1965) extrapolation from the last steps (Walker and Ni, 2011).

    The residual map(x) - x is taken as linear in the steps of the memory; the next point is the one at which what they
    explain of it vanishes, moved on by the rest. It is kept only if its objective is no worse than that of the point
    before; otherwise the iteration goes on from the plain iterate, which is never worse, with an empty memory (as
    Henderson and Varadhan, 2019) and, in place of their damping, shorter extrapolations until one of the greatest
    length allowed succeeds.

    Args:
        step: the map, an EM step; it yields the objective at its argument for free.
        start: first iterate.
        tolerance: the iteration ends once the distance left to the fixed point is under it as estimated, by the
            extrapolation and by the last plain step at the slowest rate of convergence that the memory has seen. Of 40
            linear maps with rates up to 0.9 it was under twice, with rates up to 0.99 under eight times the tolerance.
        max_evaluations: calls of `step` after which it gives up.
        project: brings an extrapolated point back into the parameter space.
        distance: largest difference of two points in the units of `tolerance`.
        report: called with evaluations so far, objective and last change.
        leave: whether to end at a point, for the map is no longer the right one there.
    """
    memory = _Memory()
    x = start
    image, value = step(x)
    evaluations = 1
    longest = np.inf
    while True:
        plain, residual = image, image - x
        beyond = memory.beyond(residual)
        change = distance(plain, x)
        report(evaluations, value, change)
        rate = memory.slowest()
        left = max(distance(project(plain + beyond), x), change / rate) if rate > 0.0 else np.inf
        converged = change == 0.0 or left < tolerance
        if converged or evaluations >= max_evaluations or leave(x):
            return FixedPoint(x, converged, evaluations)
        # In lengths of the plain step.
        length = _norm(beyond) / _norm(residual)
        if np.einsum("k,k", beyond, residual) < 0.0:
            # Steps that grow leave a saddle, and what they seem to come from is not the end.
            memory.clear()
            length = 0.0
        before, floor = x, value - ROUNDING * abs(value)
        x = project(plain + min(1.0, longest / length) * beyond) if length > 0.0 else plain
        image, value = step(x)
        evaluations += 1
        if length > 0.0:
            if value >= floor:
                longest *= GROW if length >= longest else 1.0
            else:
                memory.clear()
                longest = min(longest, length) / SHRINK
                x = plain
                image, value = step(x)
                evaluations += 1
        memory.add(x - before, image - x - residual)


def _norm(x: Floats) -> float:
    return float(np.sqrt(np.einsum("k,k", x, x)))
