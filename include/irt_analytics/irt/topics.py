"""Abilities by topic: what a learner's answers in a topic say beyond those in the others.

A learner's theta in topic t is theta + u_t with u_t ~ N(0, tau^2), the random-effects model of testlets with one
variance (Bradlow, Wainer and Wang, 1999), its items keeping the parameters of the unidimensional calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import model
from irt_analytics.irt._kernels import topics as kernels
from irt_analytics.irt._kernels.abilities import count_known
from irt_analytics.irt._posterior import normal_log_weights, pad
from irt_analytics.irt._workers import Workers, split_evenly, workers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

# The grid reaches this many sds of theta in a topic to either side, in steps of this part of the latent sd.
_REACH = 6.0
_STEP = 0.1
# tau is looked for up to this many latent sds, to this part of one.
_LARGEST_TAU = 2.0
_TAU_TOLERANCE = 2e-3
# The density of a deviation is cut off beyond this many tau.
_SMOOTHER_REACH = 4.0


def estimate_topic_abilities(
    responses: Responses,
    items: pd.DataFrame,
    learner: ArrayLike,
    prior: tuple[float, float],
    tau: float,
    wanted: ArrayLike | None = None,
) -> pd.DataFrame:
    """Estimate theta of every learner in every topic by EAP.

    The prior of a topic is normal; its mean is the learner's EAP from the answers outside the topic, its variance that
    estimate's squared error plus tau^2. Without answers outside, they are those of the latent distribution.

    Args:
        responses: the answers, with learner-topics as `student_id`.
        items: item_id, a, b and, optionally, c. Answers to other items are left out.
        learner: the learner of each of `responses.student_ids`, sorted: a learner's topics are adjacent.
        prior: mean and sd of the latent distribution.
        tau: sd of theta between the topics of a learner.
        wanted: whether each of `responses.student_ids` is estimated; all of them by default.

    Returns:
        One row per learner-topic in the order of `responses.student_ids`: student_id, theta, se, n_responses (that
        count), prior_mean, prior_sd; NaN where they are not wanted. A row depends on its learner's answers and on
        nothing else.

    Raises:
        ValueError: `learner` is not sorted, it or `wanted` is of another length, the prior or tau is out of range, or
            an item parameter is.
    """
    mean, sd = _check_prior(prior)
    if not 0.0 <= tau < np.inf:
        raise ValueError(f"tau must be a number from 0, got {tau}")
    learner_ptr = _learner_ptr(responses, learner)
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    chosen = np.ones(responses.n_students, dtype=np.bool_) if wanted is None else np.asarray(wanted, dtype=np.bool_)
    if chosen.shape != (responses.n_students,):
        raise ValueError(f"wanted has shape {chosen.shape}; expected {responses.n_students:,} learner-topics")
    n_known = np.empty(responses.n_students, dtype=np.int64)
    nodes = _nodes(mean, sd, tau)
    results = [np.full(responses.n_students, np.nan) for _ in range(4)]
    with workers() as run:
        rows = split_evenly(responses.indptr, run.threads)
        run(count_known, rows, responses.indptr, responses.answers, parameters.active, n_known)
        run(
            kernels.topic_moments,
            _ranges(responses, learner_ptr, run),
            learner_ptr,
            responses.indptr,
            responses.answers,
            parameters.a,
            parameters.d,
            parameters.c,
            parameters.active,
            chosen,
            _table(parameters, nodes, run),
            nodes,
            mean,
            sd,
            tau,
            int(np.diff(learner_ptr).max(initial=1)),
            *results,
        )
    theta, se, prior_mean, prior_sd = results
    return pd.DataFrame(
        {
            "student_id": responses.student_ids,
            "theta": theta,
            "se": se,
            "n_responses": n_known,
            "prior_mean": prior_mean,
            "prior_sd": prior_sd,
        }
    )


def estimate_topic_sd(
    responses: Responses, items: pd.DataFrame, learner: ArrayLike, prior: tuple[float, float]
) -> float:
    """Estimate tau, the sd of theta between the topics of a learner, by marginal maximum likelihood.

    The likelihood of a learner is the integral over theta ~ N(mean, sd^2) of the product over topics of the integrals
    over u ~ N(0, tau^2). Learners with answers in one topic only say nothing of tau and are passed over.

    Args:
        responses: as for `estimate_topic_abilities`.
        items: likewise.
        learner: likewise.
        prior: mean and sd of the latent distribution.

    Returns:
        tau in units of theta; 0 where the likelihood falls from there on, and where no learner has two topics.
    """
    mean, sd = _check_prior(prior)
    learner_ptr = _learner_ptr(responses, learner)
    several = np.flatnonzero(np.diff(learner_ptr) > 1)
    if not len(several):
        return 0.0
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    nodes = _nodes(mean, sd, sd)
    log_prior = normal_log_weights(nodes, np.array([mean]), np.array([sd]))[0, : len(nodes)]
    with workers() as run:
        table = _table(parameters, nodes, run)
        ranges = _ranges(responses, learner_ptr, run)

        def minus_log_likelihood(tau: float) -> float:
            value = np.empty(len(learner_ptr) - 1)
            smoother = _smoother(tau, nodes[1] - nodes[0])
            run(
                kernels.log_marginal,
                ranges,
                learner_ptr,
                responses.indptr,
                responses.answers,
                table,
                log_prior,
                smoother,
                value,
            )
            return -float(value[several].sum())

        best = minimize_scalar(
            minus_log_likelihood,
            bounds=(0.0, _LARGEST_TAU * sd),
            method="bounded",
            options={"xatol": _TAU_TOLERANCE * sd},
        )
        return float(best.x) if best.fun < minus_log_likelihood(0.0) else 0.0


def _check_prior(prior: tuple[float, float]) -> tuple[float, float]:
    mean, sd = float(prior[0]), float(prior[1])
    if not (np.isfinite(mean) and 0.0 < sd < np.inf):
        raise ValueError(f"the prior needs a finite mean and a positive sd, got {prior}")
    return mean, sd


def _learner_ptr(responses: Responses, learner: ArrayLike) -> Integers:
    """First learner-topic of each learner, and the number of learner-topics at the end."""
    learners = np.asarray(learner)
    if learners.shape != (responses.n_students,):
        raise ValueError(f"learner has shape {learners.shape}; expected {responses.n_students:,} learners")
    if np.any(learners[1:] < learners[:-1]):
        raise ValueError("learner must be sorted, in the order of responses.student_ids")
    starts: Integers = np.flatnonzero(np.append(True, learners[1:] != learners[:-1])[: len(learners)])
    return np.append(starts, len(learners))


def _ranges(responses: Responses, learner_ptr: Integers, run: Workers) -> list[tuple[int, int]]:
    """Ranges of learners of about equal work."""
    return split_evenly(responses.indptr[learner_ptr] + 8 * learner_ptr, 4 * run.threads)


def _nodes(mean: float, sd: float, tau: float) -> Floats:
    half = round(_REACH * np.hypot(sd, tau) / (_STEP * sd))
    nodes: Floats = mean + _STEP * sd * np.arange(-half, half + 1)
    return nodes


def _table(parameters: ItemParameters, nodes: Floats, run: Workers) -> Floats:
    n_items = len(parameters.a)
    table = np.zeros((2 * n_items, pad(len(nodes))))
    ranges = split_evenly(np.arange(n_items + 1), run.threads)
    run(model.log_curves, ranges, parameters.a, parameters.d, parameters.g, parameters.active, nodes, table)
    return table


def _smoother(tau: float, spacing: float) -> Floats:
    """Density of N(0, tau^2) at 0, 1, 2, ... spacings, summing to 1 with both sides."""
    if tau < 1e-6 * spacing:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(int(_SMOOTHER_REACH * tau / spacing) + 1) * spacing / tau) ** 2)
    density: Floats = weights / (2.0 * weights.sum() - weights[0])
    return density
