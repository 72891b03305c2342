"""Pairs of items whose answers go together more than ability explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels
from irt_analytics.irt._workers import split_evenly, workers
from irt_analytics.irt.item_tests import adjust

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]

#: Centred Q3 from which a pair is called dependent (Christensen, Makransky and Horton, 2017).
DEPENDENT = 0.2
# Cells of the items' square in memory at a time: 100 MB of sums.
_CELLS = 2_000_000


@dataclass(frozen=True, eq=False)
class LocalDependence:
    """Yen's Q3 of pairs of items.

    Attributes:
        pairs: the most dependent first: item_1, item_2, n (learners who answered both), q3, q3_centred (less the mean),
            p (two-sided, by Fisher's transformation) and p_adjusted over all pairs compared (Benjamini-Hochberg).
        mean: mean Q3 over the pairs compared; about -1 / (n - 1) where learners answer n items.
        n_pairs: pairs compared.
    """

    pairs: pd.DataFrame
    mean: float
    n_pairs: int


def local_dependence(
    responses: Responses, items: pd.DataFrame, theta: ArrayLike, least_joint: int = 100, least_q3: float = DEPENDENT
) -> LocalDependence:
    r"""Q3 (Yen, 1984, eq. 8): correlation over learners of the residuals x - P(theta) of two items.

    Correlated are the learners who answered both. Because theta is estimated from the same answers Q3 is below 0 on
    average, so it is judged by its distance from the mean over all pairs (Christensen et al., 2017). Its error is about
    n^-1/2, so that among thousands of pairs of 100 learners some lie above 0.2 by chance: read `p_adjusted` too.

    When not to use it: where abilities come from few answers, and where one of two linked items was answered by those
    who had the other right only.

    Args:
        responses: the answers.
        items: one row per item: item_id, a, b and, optionally, c; answers to others are left out.
        theta: ability of every learner, in the order of `responses.student_ids` (EAP, as R's mirt takes them).
        least_joint: learners who must have answered both.
        least_q3: centred Q3 from which a pair is returned; -inf for all of them.

    Returns:
        See `LocalDependence`. Memory holds the pairs of some items at a time, never the whole square of the items.

    Raises:
        ValueError: theta is not one finite number for every learner, or item parameters are out of range.
    """
    abilities = np.asarray(theta, dtype=np.float64)
    if abilities.shape != (responses.n_students,) or not np.isfinite(abilities).all():
        raise ValueError(
            f"theta must be a finite number for each of {responses.n_students:,} learners, got shape {abilities.shape}"
        )
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    often = parameters.active & (responses.item_counts().sum(axis=1) >= least_joint)
    column = np.cumsum(often) - 1
    item = (responses.answers >> 1).astype(np.int64)
    learner = np.repeat(np.arange(responses.n_students), np.diff(responses.indptr))
    kept = often[item]
    item, learner, right = item[kept], learner[kept], (responses.answers & 1)[kept]
    c = parameters.c[item]
    residual = right - c - (1.0 - c) * expit(parameters.a[item] * abilities[learner] + parameters.d[item])
    rows = np.searchsorted(learner, np.arange(responses.n_students + 1))
    n_items = int(often.sum())
    at_a_time = max(1, _CELLS // max(n_items, 1))
    found = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))]
    with workers() as run:
        for first in range(0, n_items, at_a_time):
            last = min(first + at_a_time, n_items)
            sums = np.zeros((last - first, n_items, 6))
            # Pairs of early items with all later ones are more than those of late ones.
            ranges = [(first + low, first + high) for low, high in split_evenly(np.arange(last - first + 1), 8)]
            run(kernels.pair_sums, ranges, first, rows, column[item], residual, sums)
            found.append(_q3(sums, first, least_joint))
    first_item, second_item, n, q3 = (np.concatenate(parts) for parts in zip(*found, strict=True))
    mean = float(q3.mean()) if len(q3) else np.nan
    z = (np.arctanh(np.clip(q3, -1 + 1e-12, 1 - 1e-12)) - np.arctanh(mean)) * np.sqrt(np.maximum(n - 3.0, 1.0))
    p_value = 2.0 * ndtr(-np.abs(z))
    ids = responses.item_ids[often]
    pairs = pd.DataFrame({"q3": q3, "q3_centred": q3 - mean, "p": p_value, "p_adjusted": adjust(p_value)})
    shown = np.flatnonzero(pairs["q3_centred"].to_numpy() >= least_q3)
    shown = shown[np.argsort(-pairs["q3_centred"].to_numpy()[shown], kind="stable")]
    pairs = pairs.iloc[shown].reset_index(drop=True)
    pairs.insert(0, "item_1", ids.take(first_item[shown]))
    pairs.insert(1, "item_2", ids.take(second_item[shown]))
    pairs.insert(2, "n", n[shown].astype(np.int64))
    return LocalDependence(pairs, mean, len(q3))


def _q3(sums: Floats, start: int, least_joint: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Pairs that enough learners answered: both items, how many learners, and Q3."""
    row, column = np.nonzero(sums[:, :, 0] >= least_joint)
    n, cross, sum_1, sum_2, square_1, square_2 = sums[row, column].T
    covariance = cross - sum_1 * sum_2 / n
    variances = (square_1 - sum_1**2 / n) * (square_2 - sum_2**2 / n)
    known = variances > 0.0
    return row[known] + start, column[known], n[known], covariance[known] / np.sqrt(variances[known])
