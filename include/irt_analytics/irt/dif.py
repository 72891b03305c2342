"""Differential item functioning: items that are harder for one group of learners than for equally able ones of another.

A comparison is only as good as its match of learners. On a short sum score, or on an EAP under one prior for all, a
group of higher mean is matched with less able members of the other, and good items are rejected (Zwick, 1990). Learners
are matched here by what their *other* answers and the distribution of their *own* group say of this item: the
log-odds

    eta = log(p / (1 - p)),    p = integral of P(theta) w(theta) d theta,

w being the posterior of theta from the other answers under the group's N(mean, sd^2). Without DIF x is right with
probability p in either group, whatever the difference between the groups, so that strata of eta match exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels
from irt_analytics.irt._kernels import model
from irt_analytics.irt._posterior import normal_log_weights, pad
from irt_analytics.irt._text import quoted
from irt_analytics.irt._workers import split_evenly, workers
from irt_analytics.irt.abilities import latent_nodes
from irt_analytics.irt.calibrate import as_groups, calibrate
from irt_analytics.irt.item_tests import adjust, item_curves
from irt_analytics.irt.responses import Responses

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Matching = Literal["ability", "score"]

#: Mantel-Haenszel delta of the Educational Testing Service: -2.35 log odds ratios (Holland and Thayer, 1988).
DELTA = -2.35
# Strata of eta: this wide, up to this far from 0 on either side.
_WIDTH = 0.2
_REACH = 8.0
# An item stays out of the match where its p-value, adjusted for all items, is under this.
_PURIFY_LEVEL = 0.05
_MOST_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Dif:
    """Items that two groups of learners find unlike.

    Attributes:
        items: one row per item and focal group: item_id, group, n_reference, n_focal (answers), log_odds (common log
            odds ratio of a right answer, Mantel and Haenszel, 1959; above 0: easier for the focal group), se, delta
            (ETS), chi_square, p, p_adjusted (Benjamini-Hochberg within the group), ets ("A" negligible, "B", "C" large;
            Zieky, 1993), effect and effect_se (of the group in logits, by logistic regression), p_uniform,
            p_nonuniform, p_both, r2_change (Nagelkerke's R^2 that both add) and matching (whether the item helped to
            match the learners). NaN where the answers do not suffice.
        groups: group, n_learners, mean, sd (of theta; NaN when matched by score), compared. Groups under the minimum
            are not compared.
        reference: the group that others are compared with.
        rounds: how often the match was purified; it is final when no item changed sides.
    """

    items: pd.DataFrame
    groups: pd.DataFrame
    reference: Any
    rounds: int


def differential_functioning(
    responses: Responses,
    items: pd.DataFrame,
    group: Mapping[Any, Any] | pd.Series[Any] | ArrayLike,
    *,
    reference: Any = None,
    matching: Matching = "ability",
    least_learners: int = 100,
    purify: bool = True,
) -> Dif:
    r"""Compare groups of learners in every item, matched by ability.

    - Mantel and Haenszel (1959; Holland and Thayer, 1988): common odds ratio over the strata of the match, its error
      after Robins, Breslow and Greenland (1986), chi-square without continuity correction. ETS classes: A where it
      does not differ from 0 or |delta| < 1, C where |delta| >= 1.5 and is above 1 beyond chance, else B.
    - Logistic regression (Swaminathan and Rogers, 1990) of x on the match, the group and their product, by likelihood
      ratio: uniform (group), non-uniform (product), both; and the change of Nagelkerke's (1991) R^2.

    The match is purified: items whose p of both effects, adjusted for all items, is under 0.05 no longer match
    learners, though they are still compared, and everything is done again until no item changes sides.

    Args:
        responses: the answers. A "learner" may be any unit, such as a learner in one half of the window.
        items: one row per item: item_id, a, b and, optionally, c, from a calibration of all groups, with `group=` where
            their abilities differ.
        group: of every learner, as for `calibrate`.
        reference: the group that others are compared with; default: the largest.
        matching: "ability", for any forms: by the log-odds that the other answers and the group's own distribution
            give. "score", for learners who answered every item: by sum score over matching items, this one included;
            it is exact for Rasch only, and rejects good items of a 2PL where the groups' means differ.
        least_learners: of a group that is compared.
        purify: whether to purify the match.

    Raises:
        ValueError: fewer than two groups are large enough, the reference group is not among them, forms are not common
            when matched by score, or item parameters are out of range.
    """
    if matching not in get_args(Matching):
        raise ValueError(f"matching must be one of {', '.join(get_args(Matching))}, got {matching!r}")
    names, code = as_groups(group, responses.student_ids)
    n_learners = np.bincount(code, minlength=len(names))
    compared = n_learners >= least_learners
    if compared.sum() < 2:
        raise ValueError(
            f"{compared.sum()} of {len(names)} groups have {least_learners} learners; two are needed to compare"
        )
    if reference is None:
        reference = names[int(np.argmax(n_learners))]
    if reference not in names[compared]:
        raise ValueError(f"the reference group {quoted(reference)} is not a group of {least_learners} learners or more")
    responses, code = take_learners(responses, compared[code]), code[compared[code]]
    parameters = ItemParameters.from_frame(items, responses.item_ids, "items")
    if matching == "score" and not (np.diff(responses.indptr) == responses.n_items).all():
        raise ValueError("matching='score' needs learners who answered every item; match by ability")
    comparison = _Comparison.of(responses, parameters, code, names, compared, reference)
    matches = parameters.active.copy()
    seen: list[bytes] = []
    while True:
        mean, sd = np.full(len(names), np.nan), np.full(len(names), np.nan)
        if matching == "ability":
            used = items[items["item_id"].isin(responses.item_ids[matches])]
            known = calibrate(
                _answers_to(responses, matches), fixed=used, group=names.take(code), standard_errors=False
            )
            place = names.get_indexer(pd.Index(known.groups["group"]))
            mean[place], sd[place] = known.groups["mean"], known.groups["sd"]
            match = _predicted(responses, parameters, matches, code, mean, sd)
            stratum = np.clip((match + _REACH) / _WIDTH, 0, 2 * _REACH / _WIDTH - 1).astype(np.int16)
        else:
            stratum = _scores(responses, matches)
            match = stratum.astype(np.float64)
        found = comparison.run(match, stratum, matches)
        strange = found["p_adjusted_both"] < _PURIFY_LEVEL
        flagged = responses.item_ids.isin(found.loc[strange, "item_id"])
        cleaned = parameters.active & ~flagged
        seen.append(matches.tobytes())
        done = not purify or cleaned.tobytes() in seen or len(seen) > _MOST_ROUNDS or cleaned.sum() < 2
        if done:
            break
        matches = cleaned
    groups = pd.DataFrame({"group": names, "n_learners": n_learners, "mean": mean, "sd": sd, "compared": compared})
    return Dif(found.drop(columns="p_adjusted_both"), groups, reference, len(seen) - 1)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The answers item by item, and who gave them."""

    responses: Responses
    active: Flags
    names: pd.Index[Any]
    focal: list[int]
    reference: Any
    order: NDArray[np.int64]
    ptr: NDArray[np.int64]
    right: NDArray[np.uint8]
    group: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        responses: Responses,
        parameters: ItemParameters,
        code: NDArray[np.int32],
        names: pd.Index[Any],
        compared: Flags,
        reference: Any,
    ) -> _Comparison:
        item = responses.answers >> 1
        order = np.argsort(item, kind="stable")
        ptr = np.concatenate([[0], np.cumsum(responses.item_counts().sum(axis=1))])
        group = np.repeat(code, np.diff(responses.indptr))[order]
        base = names.get_indexer(pd.Index([reference]))[0]
        focal = [int(place) for place in np.flatnonzero(compared) if place != base]
        right = (responses.answers & 1).astype(np.uint8)[order]
        return cls(responses, parameters.active, names, focal, reference, order, ptr, right, group)

    def run(self, match: Floats, stratum: NDArray[np.int16], matches: Flags) -> pd.DataFrame:
        """Compare every focal group with the reference group; a row per item and group."""
        base = self.names.get_indexer(pd.Index([self.reference]))[0]
        frames = []
        for place in self.focal:
            kept = (self.group == base) | (self.group == place)
            order = self.order[kept]
            ptr = np.concatenate([[0], np.cumsum(kept)])[self.ptr]
            focal = (self.group[kept] == place).astype(np.uint8)
            n_items = self.responses.n_items
            mantel_haenszel, logistic = np.empty((n_items, 3)), np.empty((n_items, 6))
            covariate = match[order]
            with workers() as run:
                run(
                    kernels.compare_groups,
                    split_evenly(ptr, 4 * run.threads),
                    ptr,
                    self.right[kept],
                    covariate,
                    stratum[order],
                    focal,
                    int(stratum.max(initial=0)) + 1,
                    mantel_haenszel,
                    logistic,
                )
            of_item = np.repeat(np.arange(n_items), np.diff(ptr))
            n_focal = np.bincount(of_item, weights=focal, minlength=n_items).astype(np.int64)
            frame = _describe(mantel_haenszel, logistic, np.diff(ptr))
            frame.insert(0, "item_id", self.responses.item_ids)
            frame.insert(1, "group", self.names[place])
            frame.insert(2, "n_reference", np.diff(ptr) - n_focal)
            frame.insert(3, "n_focal", n_focal)
            frames.append(frame.assign(matching=matches)[self.active])
        return pd.concat(frames, ignore_index=True)


def _describe(mantel_haenszel: Floats, logistic: Floats, n: NDArray[np.int64]) -> pd.DataFrame:
    log_odds, se, chi_square = mantel_haenszel.T
    null, match, uniform, both, effect, effect_se = logistic.T
    p, p_both = chi2.sf(chi_square, 1), chi2.sf(2.0 * (both - match), 2)
    size, error = np.abs(DELTA * log_odds), np.abs(DELTA) * se
    large = (size >= 1.5) & (size - 1.0 > norm.ppf(0.95) * error)
    negligible = (size < 1.0) | (p >= 0.05)
    ets = pd.Series(np.select([large, negligible], ["C", "A"], "B"), dtype=object).where(np.isfinite(size), None)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = [(1.0 - np.exp(2.0 * (null - fit) / n)) / (1.0 - np.exp(2.0 * null / n)) for fit in (match, both)]
    return pd.DataFrame(
        {
            "log_odds": log_odds,
            "se": se,
            "delta": DELTA * log_odds,
            "chi_square": chi_square,
            "p": p,
            "p_adjusted": adjust(p),
            "ets": ets,
            "effect": effect,
            "effect_se": effect_se,
            "p_uniform": chi2.sf(2.0 * (uniform - match), 1),
            "p_nonuniform": chi2.sf(2.0 * (both - uniform), 1),
            "p_both": p_both,
            "p_adjusted_both": adjust(p_both),
            "r2_change": r2[1] - r2[0],
        }
    )


def _predicted(
    responses: Responses, parameters: ItemParameters, matches: Flags, code: NDArray[np.int32], mean: Floats, sd: Floats
) -> Floats:
    """Log-odds of a right answer given the learner's other answers to matching items, for every answer."""
    used = np.isfinite(mean)
    mean, sd = np.where(used, mean, 0.0), np.where(used, sd, 1.0)
    nodes = latent_nodes(mean[used], sd[used])
    log_prior = normal_log_weights(nodes, mean, sd)
    curves = item_curves(parameters, nodes, pad(len(nodes)))
    table = np.zeros_like(curves)
    predicted = np.empty(responses.n_responses)
    with workers() as run:
        run(
            model.log_curves,
            split_evenly(np.arange(responses.n_items + 1), run.threads),
            parameters.a,
            parameters.d,
            parameters.g,
            matches,
            nodes,
            table,
        )
        run(
            kernels.predict,
            split_evenly(responses.indptr, 4 * run.threads),
            responses.indptr,
            responses.answers,
            table,
            curves,
            matches,
            log_prior,
            code,
            predicted,
        )
    return predicted


def _scores(responses: Responses, matches: Flags) -> NDArray[np.int16]:
    """Sum score over the matching items and this one, for every answer of learners who answered every item."""
    right = (responses.answers & 1).reshape(responses.n_students, -1).astype(np.int64)
    total = right[:, matches].sum(axis=1, keepdims=True) + right * ~matches
    scores: NDArray[np.int16] = total.ravel().astype(np.int16)
    return scores


def take_learners(responses: Responses, kept: Flags) -> Responses:
    """The answers of some learners; `kept` has a flag for each of `responses.student_ids`."""
    if kept.all():
        return responses
    lengths = np.diff(responses.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths[kept])])
    answers = responses.answers[np.repeat(kept, lengths)]
    return Responses(responses.student_ids[kept], responses.item_ids, indptr, answers)


def _answers_to(responses: Responses, items: Flags) -> Responses:
    """The answers to some items."""
    if items.all():
        return responses
    kept = items[responses.answers >> 1]
    answers = responses.answers[kept]
    renumbered = 2 * (np.cumsum(items) - 1)[answers >> 1] + (answers & 1)
    indptr = np.concatenate([[0], np.cumsum(kept)])[responses.indptr]
    return Responses(responses.student_ids, responses.item_ids[items], indptr, renumbered.astype(answers.dtype))
