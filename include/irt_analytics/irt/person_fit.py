"""Whether a learner answers as the model says somebody of that ability does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels
from irt_analytics.irt._workers import split_evenly, workers
from irt_analytics.irt.abilities import estimate_abilities, prior_of_learners

if TYPE_CHECKING:
    from irt_analytics.irt.abilities import PerLearner
    from irt_analytics.irt.responses import Responses


def person_fit(
    responses: Responses,
    items: pd.DataFrame,
    method: Literal["WLE", "MAP"] = "WLE",
    prior: tuple[PerLearner, PerLearner] | None = None,
) -> pd.DataFrame:
    r"""lz* (Snijders, 2001): the log-likelihood of a learner's answers, standardised with theta estimated.

    W = sum_j (x_j - P_j) w_j with w_j = log(P_j / Q_j) is the log-likelihood less its expectation at theta, and
    lz = W / (sum_j P_j Q_j w_j^2)^(1/2) (Drasgow, Levine and Williams, 1985). At an estimate lz varies too little, for
    theta adapts to the answers. An estimate that solves r_0 + sum_j (x_j - P_j) r_j = 0 with r_j = P_j' / (P_j Q_j) has

        lz* = (W + q r_0) / {sum_j P_j Q_j (w_j - q r_j)^2}^(1/2),    q = sum_j P_j' w_j / sum_j P_j' r_j,

    with r_0 = J / (2 I) for Warm's estimate and the slope of the log prior for a posterior mode (Magis, Raiche and
    Beland, 2012); an EAP solves no such equation. lz* is about N(0, 1); low values are careless, copied or memorised
    answers, or items taught in another order. When not to use it: with few answers the far end of its lower tail is
    heavier than a normal one (10 answers: 2 % at 1 %), and item parameters estimated on few answers count as known.

    Args:
        responses: the answers.
        items: one row per item: item_id, a, b and, optionally, c; answers to others are left out.
        method: estimate of theta: "WLE" or "MAP".
        prior: mean and sd of the prior of "MAP", as for `estimate_abilities`.

    Returns:
        One row per learner, in the order of `responses.student_ids`: student_id, theta, lz, lz_star, p (lower tail) and
        n_responses; NaN where the answers leave lz* no variance (a single answer, or items all alike in P).

    Raises:
        ValueError: another method, or as `estimate_abilities`.
    """
    if method not in ("WLE", "MAP"):
        raise ValueError(f"method must be 'WLE' or 'MAP', got {method!r}")
    abilities = estimate_abilities(responses, items, method=method, prior=prior)
    theta = abilities["theta"].to_numpy()
    if method == "MAP":
        mean, sd = prior_of_learners(prior, items, responses.student_ids)
        prior_score = -(theta - mean) / sd**2
    else:
        prior_score = np.full(len(theta), np.inf)
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    plain, corrected = np.empty(len(theta)), np.empty(len(theta))
    with workers() as run:
        run(
            kernels.log_likelihood_fit,
            split_evenly(responses.indptr, 4 * run.threads),
            responses.indptr,
            responses.answers,
            parameters.a,
            parameters.d,
            parameters.c,
            parameters.active,
            theta,
            prior_score,
            plain,
            corrected,
        )
    columns = {"theta": theta, "lz": plain, "lz_star": corrected, "p": ndtr(corrected)}
    return pd.DataFrame({"student_id": responses.student_ids, **columns, "n_responses": abilities["n_responses"]})
