"""What a calibration has to hold to before it replaces the published one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import pandas as pd
from scipy.stats import norm

from irt_analytics.irt.linking import Link
from irt_analytics.params import RunParams

#: A change counts as far as it exceeds this many of its standard errors.
ERRORS = float(norm.ppf(0.975))
#: Median of the absolute value of a standard normal.
MEDIAN_ABSOLUTE = float(norm.ppf(0.75))
#: Sd of the log-likelihood of an answer, on the large side: an answer of probability 0.8 has 0.55.
SD_OF_AN_ANSWER = 0.5


@dataclass(frozen=True, eq=False)
class State:
    """A published calibration, or one that is to be.

    Attributes:
        bank: item_id, b, se_b, status.
        latent_mean: of its learners' theta, on the published scale.
        latent_sd: likewise.
        log_likelihood: of its answers; None where not known.
        n_responses: answers.
        model: "2PL", "Rasch" or "3PL".
    """

    bank: pd.DataFrame
    latent_mean: float
    latent_sd: float
    log_likelihood: float | None
    n_responses: int
    model: str


def objections(link: Link, n_anchors: int, now: State, before: State, params: RunParams) -> list[str]:
    """Why a linked calibration is not to replace the published one, each with the param that would let it pass.

    Args:
        link: to the published scale.
        n_anchors: items among which its anchors were found, those that drifted or could not serve included.
        now: what is to be published.
        before: what is published.
        params: the thresholds.
    """
    return [
        *_of_anchors(link, n_anchors, len(before.bank), params),
        *_of_scale(link, now, before, params),
        *_of_items(now, before, params),
        *_of_likelihood(now, before, params),
    ]


def _of_anchors(link: Link, n_anchors: int, n_published: int, params: RunParams) -> Iterator[str]:
    used = link.n_anchors_used
    needed = min(params.min_anchors, n_published)
    if used < needed:
        yield (
            f"{used} anchors carry the link, fewer than min_anchors = {params.min_anchors}: give learners more items "
            "that are published already, or tag more anchors"
        )
    share = ceil(params.min_anchor_share * n_anchors)
    if used < share:
        yield (
            f"{used} of {n_anchors} anchors carry the link, fewer than min_anchor_share = {params.min_anchor_share:g} "
            "of them: look at those that drifted in linking_constants.dropped"
        )


def _of_scale(link: Link, now: State, before: State, params: RunParams) -> Iterator[str]:
    """A and B between the cohort's own scale and that of the cohort published last."""
    look = "look whether other learners answered, or answers were recorded otherwise"
    slope = now.latent_sd / before.latent_sd
    se = _known(link.se_A) / before.latent_sd
    # Without an error of A (Rasch) the link takes no part of the spread, which is the cohort's own.
    if link.se_A != 0.0 and abs(slope - 1.0) - ERRORS * se > params.max_slope_change:
        yield (
            f"theta spreads {slope:.2f} times as widely as in the calibration published last (error {se:.2f}), more "
            f"than max_slope_change = {params.max_slope_change:g} from 1: {look}"
        )
    shift = (now.latent_mean - before.latent_mean) / before.latent_sd
    se = _known(link.se_B) / before.latent_sd
    if abs(shift) - ERRORS * se > params.max_scale_shift:
        yield (
            f"the mean of theta lies {shift:+.2f} sds from that of the calibration published last (error {se:.2f}), "
            f"more than max_scale_shift = {params.max_scale_shift:g}: {look}"
        )


def _of_items(now: State, before: State, params: RunParams) -> Iterator[str]:
    """The median shift of b, less what the errors of both explain (in squares)."""
    pairs = now.bank.merge(before.bank, on="item_id", suffixes=("", "_before"))
    pairs = pairs[(pairs["status"] == "estimated") & (pairs["status_before"] == "estimated")]
    if pairs.empty:
        return
    shift = float((pairs["b"] - pairs["b_before"]).abs().median())
    squares = pairs[["se_b", "se_b_before"]].astype(np.float64).fillna(0.0) ** 2
    explained = MEDIAN_ABSOLUTE * sqrt(float(squares.sum(axis=1).median()))
    unexplained = sqrt(max(0.0, shift**2 - explained**2))
    if unexplained >= params.max_item_shift:
        yield (
            f"the difficulties of {len(pairs):,} items moved by {shift:.2f} logits in the median, by {unexplained:.2f} "
            f"without what their errors explain, not under max_item_shift = {params.max_item_shift:g}: look whether "
            "the items or what counts as correct changed"
        )


def _of_likelihood(now: State, before: State, params: RunParams) -> Iterator[str]:
    if now.model != before.model or now.log_likelihood is None or before.log_likelihood is None:
        return
    if not before.n_responses:
        return
    each, each_before = now.log_likelihood / now.n_responses, before.log_likelihood / before.n_responses
    fell = (each_before - each) / abs(each_before)
    se = SD_OF_AN_ANSWER * sqrt(1.0 / now.n_responses + 1.0 / before.n_responses) / abs(each_before)
    if fell - ERRORS * se >= params.max_fit_loss:
        yield (
            f"the log-likelihood of an answer fell from {each_before:.3f} to {each:.3f}, by {fell:.1%} (error "
            f"{se:.1%}), not under max_fit_loss = {params.max_fit_loss:g}: look for answers given at random, by "
            "robots or by a changed client"
        )


def _known(error: float) -> float:
    return 0.0 if np.isnan(error) else error
