"""How well answers agree with the model, item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit

from irt_analytics.irt._items import ItemParameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from irt_analytics.irt.responses import Responses

# Least variance of an answer, as in R's mirt: one careless answer of a learner to whom an item is trivial would else
# outweigh all other answers to it.
LEAST_VARIANCE = 1e-5**0.5
# Answers looked at together: some 100 MB of probabilities and residuals.
_CHUNK = 2_000_000


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
    abilities = np.asarray(theta, dtype=np.float64)
    if abilities.shape != (responses.n_students,) or not np.isfinite(abilities).all():
        raise ValueError(
            f"theta must be a finite number for each of {responses.n_students:,} learners, got shape {abilities.shape}"
        )
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    c = parameters.c
    n = np.zeros(responses.n_items)
    squares, variances, ratios = np.zeros(responses.n_items), np.zeros(responses.n_items), np.zeros(responses.n_items)
    for first in range(0, responses.n_responses, _CHUNK):
        answers = responses.answers[first : first + _CHUNK]
        item, right = answers >> 1, answers & 1
        learner = np.searchsorted(responses.indptr, np.arange(first, first + len(answers)), side="right") - 1
        s = expit(parameters.a[item] * abilities[learner] + parameters.d[item])
        p = c[item] + (1.0 - c[item]) * s
        variance = np.maximum(p * (1.0 - p), LEAST_VARIANCE)
        square = (right - p) ** 2
        for total, values in ((n, None), (squares, square), (variances, variance), (ratios, square / variance)):
            total += np.bincount(item, weights=values, minlength=responses.n_items)
    with np.errstate(invalid="ignore"):
        fit = pd.DataFrame({"infit": squares / variances, "outfit": ratios / n, "n_responses": n.astype(np.int64)})
    fit = fit[parameters.active].set_axis(responses.item_ids[parameters.active]).reindex(items["item_id"])
    return fit.assign(n_responses=fit["n_responses"].fillna(0).astype(np.int64)).reset_index(names="item_id")
