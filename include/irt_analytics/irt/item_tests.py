"""Tests of whether items follow their curves: S-X2 on complete forms, score tests on any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import chi2, false_discovery_control

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels
from irt_analytics.irt._kernels.rows import LANES
from irt_analytics.irt._posterior import Blocks, normal_log_weights, pad
from irt_analytics.irt._workers import split_evenly, workers
from irt_analytics.irt.abilities import latent_nodes, prior_of_learners
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.quadrature import Quadrature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from irt_analytics.irt.abilities import PerLearner
    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Columns of `ItemParameters` that a model estimates: a, d, g.
_ESTIMATED = {"Rasch": (False, True, False), "2PL": (True, True, False), "3PL": (True, True, True)}
# A residual direction whose information is this small a share of what it was before the item's own parameters were
# taken out has none of its own.
_RANK_TOLERANCE = 1e-6


def adjust(p: Any) -> Floats:
    """p-values for the expected share of false alarms among all alarms (Benjamini and Hochberg, 1995); NaN stays."""
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    if known.any():
        adjusted[known] = false_discovery_control(values[known], method="bh")
    return adjusted


def score_fit(
    responses: Responses,
    items: pd.DataFrame,
    model: Model | None = None,
    prior: tuple[float, float] | None = None,
    least_expected: float = 1.0,
) -> pd.DataFrame:
    r"""S-X2 (Orlando and Thissen, 2000, eq. 3; 2003): right answers by sum score against those expected.

    S-X2 = sum_s N_s (O_s - E_s)^2 / {E_s (1 - E_s)} over sum scores s = 1 .. n - 1, with O_s the share of right answers
    among the N_s learners of that score and E_s what the model says of them: the recursion of Lord and Wingersky (1984)
    over the other items, summed over the latent distribution. Scores are joined until every cell expects
    `least_expected` answers, as R's mirt joins them. Degrees of freedom are cells less the item's parameters, less one
    for the latent sd of a Rasch calibration.

    Only learners who answered every item of `items` count, for a sum score compares nobody else: on incomplete forms
    nothing is computed and `reason` says so; use `curve_fit` there.

    Args:
        responses: the answers.
        items: one row per item: item_id, a, b and, optionally, c.
        model: which parameters were estimated from these answers; default: `items.attrs["model"]`.
        prior: mean and sd of theta; default: the calibration's own, in `items.attrs`.
        least_expected: answers that a cell must expect.

    Returns:
        One row per item of `items`: item_id, s_x2, df, p, p_adjusted (Benjamini-Hochberg), n_learners, reason (None,
        or why there is no statistic).

    Raises:
        ValueError: the model is unknown, or item parameters are out of range.
    """
    estimated = _estimated(model, items)
    mean, sd = _one_prior(prior, items)
    chosen = responses.item_ids.isin(items["item_id"])
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    n_items = int(chosen.sum())
    counted = chosen[responses.answers >> 1]
    per_learner = np.add.reduceat(np.append(counted, 0), responses.indptr[:-1]) * (np.diff(responses.indptr) > 0)
    complete = per_learner == len(items)
    if n_items < len(items) or not complete.any():
        reason = "no learner answered every item"
        return _score_frame(items, {}, 0, reason)
    learner = np.repeat(complete, np.diff(responses.indptr)) & counted
    answers = responses.answers[learner].reshape(-1, n_items)
    right = (answers & 1).astype(np.int64)
    score = right.sum(axis=1)
    nodes = Quadrature().extended(mean - 6.0 * sd, mean + 6.0 * sd).nodes
    weights = np.exp(-0.5 * ((nodes - mean) / sd) ** 2)
    a, d, c = (values[chosen] for values in (parameters.a, parameters.d, parameters.c))
    curves = c[:, None] + (1.0 - c[:, None]) * expit(a[:, None] * nodes + d[:, None])
    expected = np.zeros((n_items, n_items + 1))
    with workers() as run:
        ranges = split_evenly(np.arange(n_items + 1), 4 * run.threads)
        run(kernels.expected_by_score, ranges, curves, weights / weights.sum(), expected)
    n_by_score = np.bincount(score, minlength=n_items + 1)[1:n_items]
    free = int(np.sum(estimated)) + int(not estimated[0])
    found = {}
    for j, item_id in enumerate(responses.item_ids[chosen]):
        right_by_score = np.bincount(score[right[:, j] == 1], minlength=n_items + 1)[1:n_items]
        found[item_id] = _s_x2(n_by_score, right_by_score, expected[j, 1:n_items], free, least_expected)
    return _score_frame(items, found, int(complete.sum()), "too few score groups")


def _score_frame(
    items: pd.DataFrame, found: dict[Any, tuple[float, int]], n_learners: int, reason: str
) -> pd.DataFrame:
    statistic, df = (np.array([found.get(item, (np.nan, 0))[place] for item in items["item_id"]]) for place in (0, 1))
    p = chi2.sf(statistic, np.where(df > 0, df, np.nan))
    return pd.DataFrame(
        {
            "item_id": items["item_id"].to_numpy(),
            "s_x2": statistic,
            "df": df.astype(np.int64),
            "p": p,
            "p_adjusted": adjust(p),
            "n_learners": n_learners,
            "reason": [None if known else reason for known in np.isfinite(statistic)],
        }
    )


def _s_x2(n: Integers, right: Integers, expected: Floats, free: int, least: float) -> tuple[float, int]:
    """S-X2 and its degrees of freedom after joining score groups in the order in which R's mirt does."""
    observed = np.column_stack([n - right, right])
    model = np.column_stack([n * (1.0 - expected), n * expected])
    some = n > 0
    cells = [(o, e) for o, e in zip(observed[some], model[some], strict=True)]
    merged: list[tuple[Floats, Floats]] = []
    for place, (o, e) in enumerate(cells):
        if o.sum() == 1.0 and place + 1 < len(cells):  # a group of one learner joins the next
            cells[place + 1] = (cells[place + 1][0] + o, cells[place + 1][1] + e)
        else:
            merged.append((o, e))
    if len(merged) > 1 and merged[-1][0].sum() == 1.0:
        o, e = merged.pop()
        merged[-1] = (merged[-1][0] + o, merged[-1][1] + e)
    while len(merged) > 1:
        sparse = next((place for place, (_, e) in enumerate(merged) if ((e < least) & (e != 0.0)).any()), None)
        if sparse is None:
            break
        if sparse == 0:
            into = 1
        elif sparse == len(merged) - 1:
            into = sparse - 1
        else:  # the smaller neighbour
            into = sparse - 1 if merged[sparse - 1][0].sum() <= merged[sparse + 1][0].sum() else sparse + 1
        merged[into] = (merged[into][0] + merged[sparse][0], merged[into][1] + merged[sparse][1])
        del merged[sparse]
    df = len(merged) - free
    if df < 1:
        return np.nan, 0
    return float(sum(((o - e) ** 2 / e).sum() for o, e in merged)), df


@dataclass(frozen=True, eq=False)
class CurveFit:
    """How items follow their curves.

    Attributes:
        tests: one row per item: item_id, statistic, df, p, p_adjusted (Benjamini-Hochberg), rmsd (distance of observed
            from expected shares of right answers, weighted by learners; von Davier, 2020) and n_responses.
        curves: one row per item and interval of theta: item_id, interval (from 0), theta (mean there), n (expected
            number of learners), observed and expected share of right answers.
    """

    tests: pd.DataFrame
    curves: pd.DataFrame


def curve_fit(
    responses: Responses,
    items: pd.DataFrame,
    model: Model | None = None,
    prior: tuple[PerLearner, PerLearner] | None = None,
    intervals: int = 5,
) -> CurveFit:
    r"""Test every item's curve on answers of any pattern, against one with a step in every interval of theta.

    The residuals are those of Stone's (2000) X2*: observed less expected right answers at every theta, learners counted
    by their posterior, r_k - n_k P_k = sum_i w_i(theta_k) (x_i - P_k). Stone finds their distribution by resampling;
    here it follows from the likelihood (Glas, 1999; Glas and Suarez Falcon, 2003): their sums over an interval are the
    scores of a step delta_b in the log-odds of a right answer there. Given a learner's other answers x is right with a
    probability p that they determine, and the score u(x) has mean 0 and variance u(right)^2 p + u(wrong)^2 (1 - p),
    known without x. With z and V the scores and their covariance after those of the item's own parameters are
    projected out (Neyman's C(alpha), so that estimates under a prior do no harm), z' V^-1 z is a chi-square with
    `intervals` - 1 degrees of freedom.

    Assumptions: the parameters of the other items and the latent distribution are known. When not to use it: with a
    learner's few answers the posterior is wide, the power low; and the curves of `curves`, which count learners by a
    posterior that believes the model, lie nearer to the expected ones than the truth does.

    Args:
        responses: the answers.
        items: one row per item: item_id, a, b and, optionally, c; answers to others are left out.
        model: which parameters were estimated from these answers; default: `items.attrs["model"]`.
        prior: mean and sd of theta, as for `estimate_abilities`: give each learner the group's own where groups
            differ. Default: the calibration's own.
        intervals: of theta, with about equally many of an item's learners each.

    Returns:
        See `CurveFit`; no test (NaN) where an item's answers do not tell the intervals apart.

    Raises:
        ValueError: the model is unknown, fewer than two intervals, or item parameters or a prior are out of range.
    """
    estimated = _estimated(model, items)
    if intervals < 2:
        raise ValueError(f"intervals must be at least 2, got {intervals}")
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    mean, sd = prior_of_learners(prior, items, responses.student_ids)
    groups, group = np.unique(np.column_stack([mean, sd]), axis=0, return_inverse=True)
    nodes = latent_nodes(mean, sd)
    log_prior = normal_log_weights(nodes, groups[:, 0], groups[:, 1])
    n_nodes, width = len(nodes), pad(len(nodes))
    curves = item_curves(parameters, nodes, width)
    own, own_names = _own_functions(parameters, nodes, estimated)
    n_own = len(own_names)
    n_codes = 2 * responses.n_items
    with workers() as run:
        blocks = Blocks(responses, group.astype(np.int32).reshape(-1), len(groups), run)
        counts = blocks.expectation(parameters, nodes, log_prior).counts[:, :n_nodes]
        n_at, right_at = counts[0::2] + counts[1::2], counts[1::2]
        interval = _intervals(n_at, intervals)
        steps = [interval == b for b in range(1, intervals)]
        functions = _beside(curves, [*own.transpose(1, 0, 2), *steps])
        n_functions = n_own + intervals - 1
        scores = np.zeros((n_codes, n_functions))
        information = np.zeros((n_codes, n_functions, n_functions))
        for wave, posterior, _ in blocks.posteriors(parameters, nodes, log_prior):
            blocks.over_answers(kernels.residual_sums, wave, posterior, functions, scores, information)
    scores = scores[0::2] + scores[1::2]
    information = information[0::2] + information[1::2]
    information += np.tril(information, -1).transpose(0, 2, 1)
    statistic, df = np.full(responses.n_items, np.nan), np.zeros(responses.n_items, dtype=np.int64)
    for j in np.flatnonzero(parameters.active):
        statistic[j], df[j] = efficient_score_test(scores[j], information[j], n_own)
    tests = pd.DataFrame({"statistic": statistic, "df": df, "p": chi2.sf(statistic, np.where(df > 0, df, np.nan))})
    observed = _by_interval(responses, interval, n_at, right_at, curves[1::2, :n_nodes], nodes, intervals)
    distance = (observed["observed"] - observed["expected"]) ** 2
    tests["rmsd"] = np.sqrt(
        np.bincount(observed["item"], weights=observed["n"] * distance, minlength=responses.n_items)
        / np.bincount(observed["item"], weights=observed["n"], minlength=responses.n_items)
    )
    tests["n_responses"] = responses.item_counts().sum(axis=1)
    tests = tests.set_axis(responses.item_ids)[parameters.active].reindex(items["item_id"])
    tests = tests.assign(
        p_adjusted=adjust(tests["p"]),
        **{name: tests[name].fillna(0).astype(np.int64) for name in ("df", "n_responses")},
    )
    observed = observed[parameters.active[observed["item"]]]
    observed.insert(0, "item_id", responses.item_ids.take(observed["item"].to_numpy()))
    columns = ["item_id", "statistic", "df", "p", "p_adjusted", "rmsd", "n_responses"]
    return CurveFit(tests.reset_index(names="item_id")[columns], observed.drop(columns="item").reset_index(drop=True))


def _beside(curves: Floats, functions: list[NDArray[Any]]) -> Floats:
    """1 over the probability of an answer and functions of theta times x - P, as `kernels.residual_sums` takes them.

    Args:
        curves: Q and P of every item, shape (2 * n_items, n_nodes padded).
        functions: each of shape (n_items, n_nodes).
    """
    n_codes, width = curves.shape
    groups = -(-(1 + len(functions)) // LANES)
    beside = np.zeros((n_codes, groups, width, LANES))
    beside[:, 0, :, 0] = 1.0 / curves
    for place, function in enumerate(functions, start=1):
        n_nodes = function.shape[1]
        into = beside[:, place // LANES, :n_nodes, place % LANES]
        into[0::2] = -curves[1::2, :n_nodes] * function
        into[1::2] = curves[0::2, :n_nodes] * function
    return beside


def efficient_score_test(score: Floats, information: Floats, n_nuisance: int) -> tuple[float, int]:
    """Statistic and degrees of freedom of the scores after the leading `n_nuisance` ones; NaN, 0 without information.

    z = s_t - I_to I_oo^-1 s_o has covariance V = I_tt - I_to I_oo^-1 I_ot (Neyman, 1959), o being the nuisance.
    """
    own, rest = slice(n_nuisance), slice(n_nuisance, None)
    nuisance = information[own, own]
    before = np.diag(information)[rest].copy()
    try:
        weights = np.linalg.solve(nuisance, information[own, rest])
    except np.linalg.LinAlgError:
        return np.nan, 0
    z = score[rest] - weights.T @ score[own]
    variance = information[rest, rest] - information[rest, own] @ weights
    scale = np.sqrt(np.where(before > 0.0, before, 1.0))
    values, vectors = np.linalg.eigh(variance / np.outer(scale, scale))
    kept = values > _RANK_TOLERANCE
    if not kept.any() or not (before > 0.0).any():
        return np.nan, 0
    along = vectors[:, kept].T @ (z / scale)
    return float((along**2 / values[kept]).sum()), int(kept.sum())


def _estimated(model: Model | None, items: pd.DataFrame) -> tuple[bool, bool, bool]:
    chosen = items.attrs.get("model") if model is None else model
    if chosen not in _ESTIMATED:
        raise ValueError(f"model must be one of {', '.join(get_args(Model))}, got {chosen!r}")
    return _ESTIMATED[chosen]


def _one_prior(prior: tuple[float, float] | None, items: pd.DataFrame) -> tuple[float, float]:
    mean, sd = prior_of_learners(prior, items, pd.Index([0]))
    return float(mean[0]), float(sd[0])


def item_curves(parameters: ItemParameters, nodes: Floats, width: int) -> Floats:
    """Q and P of the items in rows 2j and 2j + 1; 1 in the columns that pad the grid."""
    curves = np.ones((2 * len(parameters.a), width))
    z = parameters.a[:, None] * nodes + parameters.d[:, None]
    c = parameters.c[:, None]
    curves[0::2, : len(nodes)] = np.maximum((1.0 - c) * expit(-z), np.finfo(float).tiny)
    curves[1::2, : len(nodes)] = np.maximum(c + (1.0 - c) * expit(z), np.finfo(float).tiny)
    return curves


def _own_functions(
    parameters: ItemParameters, nodes: Floats, estimated: tuple[bool, bool, bool]
) -> tuple[Floats, list[str]]:
    """What the scores of an item's own parameters weigh x - P by: dP/d(parameter) / (P Q).

    With P = c + (1 - c) s these are theta s / P for a, s / P for d and c / P for the logit of c.
    """
    s = expit(parameters.a[:, None] * nodes + parameters.d[:, None])
    c = parameters.c[:, None]
    of_d = np.where(c > 0.0, s / (c + (1.0 - c) * s), 1.0)
    of_g = np.where(c > 0.0, c / (c + (1.0 - c) * s), 0.0)
    every = {"a": nodes * of_d, "d": of_d, "g": of_g}
    chosen = [name for name, free in zip(every, estimated, strict=True) if free]
    return np.stack([every[name] for name in chosen], axis=1), chosen


def _intervals(n_at: Floats, intervals: int) -> Integers:
    """Interval of every node for every item, so that each has about the same number of the item's learners."""
    total = n_at.sum(axis=1, keepdims=True)
    below = (np.cumsum(n_at, axis=1) - 0.5 * n_at) / np.where(total > 0.0, total, 1.0)
    return np.minimum((below * intervals).astype(np.int64), intervals - 1)


def _by_interval(
    responses: Responses,
    interval: Integers,
    n_at: Floats,
    right_at: Floats,
    p: Floats,
    nodes: Floats,
    intervals: int,
) -> pd.DataFrame:
    place = (np.arange(responses.n_items)[:, None] * intervals + interval).ravel()

    def total(values: Floats) -> Floats:
        return np.bincount(place, weights=values.ravel(), minlength=responses.n_items * intervals).astype(np.float64)

    n = total(n_at)
    with np.errstate(invalid="ignore"):
        frame = pd.DataFrame(
            {
                "item": np.repeat(np.arange(responses.n_items), intervals),
                "interval": np.tile(np.arange(intervals), responses.n_items),
                "theta": total(n_at * nodes) / n,
                "n": n,
                "observed": total(right_at) / n,
                "expected": total(n_at * p) / n,
            }
        )
    return frame[n > 0.0]
