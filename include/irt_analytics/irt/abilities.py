"""Abilities of learners from their answers to calibrated items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import abilities as kernels
from irt_analytics.irt._kernels import model
from irt_analytics.irt._posterior import pad
from irt_analytics.irt._text import quoted
from irt_analytics.irt._workers import Workers, split_evenly, workers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]
    PerLearner = ArrayLike | pd.Series[float]

AbilityMethod = Literal["EAP", "MAP", "WLE"]

# The grid of the posterior mean reaches this many prior sds to either side, in steps of this part of one.
_REACH = 6.0
_STEP = 0.2
# Steps that replace one of them for posteriors that are narrower.
_CLOSER = 4
_MOST_NODES = 2048


def estimate_abilities(
    responses: Responses,
    items: pd.DataFrame,
    method: AbilityMethod = "EAP",
    prior: tuple[PerLearner, PerLearner] | None = None,
) -> pd.DataFrame:
    """Estimate theta of every learner from their answers to items of known parameters.

    - EAP: mean and sd of the posterior (Bock and Mislevy, 1982);
    - MAP: its mode, and the inverse root of the observed information there;
    - WLE: Warm's (1989) weighted likelihood estimate, finite also where every answer is right or wrong, and the
      inverse root of the test information there.

    A "learner" may be any unit: build the responses with, say, learner-weeks as `student_id` for weekly abilities.
    Answers to items that `items` lacks are left out.

    Args:
        responses: the answers.
        items: one row per item: item_id, a, b and, optionally, c.
        method: "EAP", "MAP" or "WLE".
        prior: mean and sd of the normal prior of EAP and MAP, each a number, an array in the order of
            `responses.student_ids`, or a series by student_id. Default: that of the calibration, which
            `items.attrs` carries as latent_mean and latent_sd.

    Returns:
        One row per learner, in the order of `responses.student_ids`: student_id, theta, se (units of theta) and
        n_responses, the answers that counted. Without any, EAP and MAP are the prior and WLE is NaN.

    Raises:
        ValueError: an unknown method, a prior that is absent or not positive, or item parameters out of range.
    """
    if method not in get_args(AbilityMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(AbilityMethod))}, got {method!r}")
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    n = responses.n_students
    theta, se, n_known = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    c, active = parameters.c, parameters.active
    several_modes = bool((c > 0.0).any())
    with workers() as run:
        ranges = split_evenly(responses.indptr, 4 * run.threads)
        run(kernels.count_known, ranges, responses.indptr, responses.answers, active, n_known)
        data = responses.indptr, responses.answers, parameters.a, parameters.d, c, active
        if method == "WLE":
            run(kernels.weighted_likelihood, ranges, *data, several_modes, theta, se)
        else:
            mean, sd = prior_of_learners(prior, items, responses.student_ids)
            if method == "MAP":
                run(kernels.maximum_a_posteriori, ranges, *data, several_modes, mean, sd, theta, se)
            elif n:
                nodes = latent_nodes(mean, sd)
                table = answer_curves(parameters, nodes, run)
                run(kernels.posterior_moments, ranges, *data[:2], table, nodes, mean, sd, theta, se)
                spacing = nodes[1] - nodes[0]
                if (spacing > kernels.SPACING_PER_SD * se).any():
                    nodes = closer_nodes(nodes)
                    table = answer_curves(parameters, nodes, run)
                    run(kernels.all_narrow_moments, ranges, *data, spacing, table, nodes, mean, sd, theta, se)
    return pd.DataFrame({"student_id": responses.student_ids, "theta": theta, "se": se, "n_responses": n_known})


def prior_of_learners(
    prior: tuple[PerLearner, PerLearner] | None, items: pd.DataFrame, student_ids: pd.Index[Any]
) -> tuple[Floats, Floats]:
    """Prior mean and sd of every learner, as `estimate_abilities` takes them."""
    if prior is None:
        if not {"latent_mean", "latent_sd"} <= items.attrs.keys():
            raise ValueError(
                "items.attrs carries no latent_mean and latent_sd, as the items of a calibration do; "
                "give prior=(mean, sd)"
            )
        prior = items.attrs["latent_mean"], items.attrs["latent_sd"]
    mean, sd = (
        _per_learner(values, name, student_ids) for values, name in zip(prior, ("prior mean", "prior sd"), strict=True)
    )
    wrong = ~(np.isfinite(mean) & np.isfinite(sd) & (sd > 0.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"the prior of learner {quoted(student_ids[row])} has mean {mean[row]} and sd {sd[row]}; expected a "
            "finite mean and a positive sd"
        )
    return mean, sd


def _per_learner(values: PerLearner, name: str, student_ids: pd.Index[Any]) -> Floats:
    if isinstance(values, pd.Series):
        absent = student_ids.difference(values.index)
        if len(absent):
            raise ValueError(f"the {name} has no entry for {len(absent):,} learners, such as {quoted(absent[0])}")
        values = values.reindex(student_ids).to_numpy(dtype=np.float64, na_value=np.nan)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != student_ids.shape:
        raise ValueError(f"the {name} has shape {array.shape}; expected one number or {len(student_ids):,} of them")
    return np.array(np.broadcast_to(array, student_ids.shape))


def latent_nodes(mean: Floats, sd: Floats) -> Floats:
    """Equally spaced abilities that cover every prior."""
    lower, upper = float((mean - _REACH * sd).min()), float((mean + _REACH * sd).max())
    step = _STEP * float(sd.max()) if np.ptp(mean) == np.ptp(sd) == 0.0 else _STEP * min(1.0, float(sd.max()))
    n_nodes = round((upper - lower) / step) + 1
    if n_nodes > _MOST_NODES:
        raise ValueError(f"the priors reach from {lower:.6g} to {upper:.6g}; expected priors of abilities in logits")
    return np.linspace(lower, upper, n_nodes)


def closer_nodes(nodes: Floats) -> Floats:
    """The grid of posteriors that are narrower than the spacing of these nodes."""
    return np.linspace(nodes[0], nodes[-1], _CLOSER * (len(nodes) - 1) + 1)


def answer_curves(parameters: ItemParameters, nodes: Floats, run: Workers) -> Floats:
    """Rows 2j and 2j + 1: log Q and log P of item j at the nodes; zeros in the columns that pad them."""
    n_items = len(parameters.a)
    table = np.zeros((2 * n_items, pad(len(nodes))))
    ranges = split_evenly(np.arange(n_items + 1), run.threads)
    run(model.log_curves, ranges, parameters.a, parameters.d, parameters.g, parameters.active, nodes, table)
    return table
