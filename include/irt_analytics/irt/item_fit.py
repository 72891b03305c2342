"""How well answers agree with the model, item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from irt_analytics.irt.responses import Responses

# Least variance of an answer, as in R's mirt: one careless answer of a learner to whom an item is trivial would else
# outweigh all other answers to it.
LEAST_VARIANCE = 1e-5**0.5


def item_fit(responses: Responses, items: pd.DataFrame, theta: ArrayLike) -> pd.DataFrame:
    """Mean squares of the residuals x - P(theta) of every item (Wright and Masters, 1982, eqs. 5.3.5 and 5.3.9).

    outfit is the mean of (x - P)^2 / (P Q) over an item's answers, infit the sum of (x - P)^2 over the sum of P Q, so
    that unexpected answers far from the item's difficulty weigh less; P Q counts for at least `LEAST_VARIANCE`. Both
    are 1 on average where the model holds and theta is known; with estimated theta they lie a little lower.

    Args:
        responses: the answers.
        items: item_id, a, b and, optionally, c; items without a row are left out.
        theta: ability of every learner in the order of `responses.student_ids`.

    Returns:
        One row per item of `items` in their order: item_id, infit, outfit (NaN for an item without an answer) and
        n_responses.

    Raises:
        ValueError: a parameter is missing or out of range, or theta is not one number for every learner.
    """
    # A copy, for a Series gives a read-only array, which is a type of its own to numba.
    abilities = np.array(theta, dtype=np.float64)
    if abilities.shape != (responses.n_students,) or not np.isfinite(abilities).all():
        raise ValueError(
            f"theta must be a finite number for each of {responses.n_students:,} learners, got shape {abilities.shape}"
        )
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    sums = np.zeros((responses.n_items, 4))
    kernels.residual_squares(
        responses.indptr,
        responses.answers,
        parameters.a,
        parameters.d,
        parameters.c,
        abilities,
        LEAST_VARIANCE,
        sums,
    )
    n, squares, variances, ratios = sums.T
    with np.errstate(invalid="ignore"):
        fit = pd.DataFrame({"infit": squares / variances, "outfit": ratios / n, "n_responses": n.astype(np.int64)})
    fit = fit[parameters.active].set_axis(responses.item_ids[parameters.active]).reindex(items["item_id"])
    return fit.assign(n_responses=fit["n_responses"].fillna(0).astype(np.int64)).reset_index(names="item_id")
