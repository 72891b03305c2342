"""One evaluation of every engine's estimates, so that times are compared for the same answer."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

CHUNK_ANSWERS = 200_000


def log_likelihood(data: Path, items: pd.DataFrame, points: int) -> float:
    """Marginal 2PL log-likelihood of a, b under theta ~ N(0, 1), on equally spaced points over [-6, 6].

    Args:
        data: folder of a `Dataset`.
        items: columns a, b, a row per item in the data's order.
        points: number of points.
    """
    student = np.fromfile(data / "student.i32", dtype=np.int32)
    answer = 2 * np.fromfile(data / "item.u16", dtype=np.uint16).astype(np.int32)
    answer += np.fromfile(data / "correct.u8", dtype=np.uint8)
    theta = np.linspace(-6.0, 6.0, points)
    log_weight = -0.5 * theta**2
    log_weight -= np.logaddexp.reduce(log_weight)
    logit = items["a"].to_numpy()[:, None] * (theta - items["b"].to_numpy()[:, None])
    log_p = np.empty((2 * len(items), points))
    log_p[0::2] = -np.logaddexp(0.0, logit)
    log_p[1::2] = -np.logaddexp(0.0, -logit)

    starts = np.flatnonzero(np.diff(student, prepend=-1))
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(student) + CHUNK_ANSWERS, CHUNK_ANSWERS)))
    edges = np.append(starts, len(student))
    total = 0.0
    for first, last in pairwise(cuts):
        rows = log_p[answer[edges[first] : edges[last]]]
        joint = np.add.reduceat(rows, edges[first:last] - edges[first], axis=0)
        total += float(np.logaddexp.reduce(joint + log_weight, axis=1).sum())
    return total


def largest_difference(items: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Largest absolute difference of two engines' a and of their d = -a * b over all items."""
    a, a_other = items["a"].to_numpy(), other["a"].to_numpy()
    d, d_other = -a * items["b"].to_numpy(), -a_other * other["b"].to_numpy()
    return float(np.abs(a - a_other).max()), float(np.abs(d - d_other).max())
