"""The least time in which this machine could take the same EM steps, from what its memory and its arithmetic give.

An E-step adds up, for every learner, the log-curves of the learner's answers over the nodes, turns the sums into
weights by an exponential each, and adds the weights to the expected counts of the same answers; an M-step evaluates
each item's curve and its derivatives over the nodes, at the least twice (once to step, once to see that the step was
good). With N answers of S learners to J items and Q nodes:

    operations   = 2 N Q + 4 S Q + 40 J Q
    exponentials = S Q + 6 J Q
    bytes        = 4 N + 8 S + 32 J Q

An operation is a multiplication, an addition, or both fused. 4 S Q: subtract the largest, sum, scale, add to the
distribution of ability. 40 J Q: twice the curve with its derivatives. 6 J Q: exp and log(1 + exp) of a curve, three
times. 4 N: each answer is two bytes, read by learner and by item; 8 S: where a learner's begin; 32 J Q: two rows an
item, of log-curves and of counts, in doubles. What fits into a cache and need not come from memory again is not
counted, nor is the time to load an operand from a cache: the sum is what no program of this algorithm can beat, not
what one should reach.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from irt_analytics.irt._kernels.posterior import exp_row

#: Runs of a kernel, of which the fastest counts.
ATTEMPTS = 20
#: Numbers that a thread reads: 128 MiB, more than caches hold.
READ = 2**24
#: Numbers that a thread keeps in its first cache, and operations on each before the next.
KEPT, CHAIN = 512, 32


@dataclass(frozen=True)
class Machine:
    """What so many threads reach together.

    Attributes:
        bandwidth: bytes a second from memory.
        operations: multiplications, additions or both fused, in double precision, a second.
        exponentials: a second, by the engine's own vectorised kernel.
    """

    bandwidth: float
    operations: float
    exponentials: float

    def __str__(self) -> str:
        return (
            f"{self.bandwidth / 1e9:.1f} GB/s from memory, {self.operations / 1e9:.1f} x 10^9 operations/s, "
            f"{self.exponentials / 1e9:.2f} x 10^9 exponentials/s"
        )


@dataclass(frozen=True)
class Least:
    """Seconds that memory and arithmetic need at the least; together, the larger one of each step."""

    memory: float
    arithmetic: float
    together: float


def measure(threads: int) -> Machine:
    """Measure this machine, all threads at once."""
    with ThreadPoolExecutor(threads) as pool:

        def rate(kernel: Callable[..., Any], work: int, arguments: Callable[[], tuple[Any, ...]]) -> float:
            """Units of work a second; each thread does `work` of them."""
            each = [arguments() for _ in range(threads)]
            seconds = []
            # The first run compiles.
            for _ in range(ATTEMPTS + 1):
                began = time.perf_counter()
                list(pool.map(lambda own: kernel(*own), each))
                seconds.append(time.perf_counter() - began)
            return threads * work / min(seconds[1:])

        rounds = 10_000
        return Machine(
            bandwidth=rate(_read, 8 * READ, lambda: (np.ones(READ, dtype=np.int64),)),
            operations=rate(_multiply_add, rounds * KEPT * CHAIN, lambda: (np.linspace(0.0, 1.0, KEPT), rounds)),
            exponentials=rate(_exponentials, rounds * KEPT, lambda: (-np.linspace(0.0, 20.0, KEPT), rounds)),
        )


def least(machine: Machine, stages: Sequence[Mapping[str, float]], n_items: int) -> Least:
    """Least seconds of an EM.

    Args:
        machine: as measured.
        stages: of the EM, each with its nodes, its answers and learners, and its steps.
        n_items: items.
    """
    memory = arithmetic = together = 0.0
    for stage in stages:
        nodes, answers, learners = stage["nodes"], stage["answers"], stage["learners"]
        operations = (2 * answers + 4 * learners + 2 * 20 * n_items) * nodes
        exponentials = (learners + 6 * n_items) * nodes
        moved = 4 * answers + 8 * learners + 32 * n_items * nodes
        of_memory = stage["steps"] * moved / machine.bandwidth
        of_arithmetic = stage["steps"] * (operations / machine.operations + exponentials / machine.exponentials)
        memory += of_memory
        arithmetic += of_arithmetic
        together += max(of_memory, of_arithmetic)
    return Least(memory, arithmetic, together)


@njit(nogil=True)
def _read(x: npt.NDArray[np.int64]) -> int:
    total = 0
    for k in range(len(x)):
        total += x[k]
    return total


@njit(nogil=True, fastmath={"contract"})
def _multiply_add(x: npt.NDArray[np.float64], rounds: int) -> None:
    for _ in range(rounds):
        for k in range(len(x)):
            y = x[k]
            for _ in range(CHAIN):
                y = y * 0.999 + 0.001
            x[k] = y


@njit(nogil=True)
def _exponentials(x: npt.NDArray[np.float64], rounds: int) -> None:
    row, bits = np.empty(len(x)), np.empty(len(x), dtype=np.int64)
    for _ in range(rounds):
        row[:] = x
        exp_row(row, bits)
