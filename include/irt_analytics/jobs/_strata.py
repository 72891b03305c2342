"""Strata of learners by the ability known before the calibration window, each with a mean and sd of its own.

Where learners get items near their ability, who answers an item depends on theta, and one N(0, 1) population for all
takes that for a property of the items: differences between items shrink. Given what the routing knew, answers say no
more about theta than theta does; so groups formed by earlier abilities, and one of newcomers, take it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics.irt import Responses
from irt_analytics.irt.linking import Link
from irt_analytics.params import MIN_ANSWERS_ITEM_ANY

#: Strata of the learners with an earlier ability, of equal size, where there are enough of them.
STRATA = 5
#: Learners that a stratum needs: its mean and sd are estimated from them.
LEAST_LEARNERS = 100
#: Items that two strata have to have in common, each with enough answers in both, to be on one scale.
COMMON_ITEMS = 5
NEWCOMERS = "newcomers"


@dataclass(frozen=True, eq=False)
class Strata:
    """Groups of the learners of a calibration.

    Attributes:
        label: of every learner, by student_id; the reference group has the first in sorted order.
        reference: mean and sd of earlier theta in the reference group, in units of the population published last.
        known_as_of: day of the earlier abilities.
    """

    label: pd.Series[str]
    reference: tuple[float, float]
    known_as_of: date


def stratify(
    responses: Responses, earlier: pd.DataFrame, latent_mean: float, latent_sd: float
) -> tuple[Strata | None, str]:
    """Divide the learners by their earlier theta into as many strata as they and their items carry.

    Fewer than `LEAST_LEARNERS` newcomers are with the stratum in the middle.

    Args:
        responses: the answers that are to be calibrated.
        earlier: user_id, theta, se, as_of (all of one day).
        latent_mean: of theta, as published.
        latent_sd: likewise.

    Returns:
        The strata, or None where there is to be one population; and in words how many, or why none.
    """
    known = earlier.set_index("user_id").reindex(responses.student_ids)
    theta = known["theta"].to_numpy(dtype=np.float64, na_value=np.nan)
    n_known = int(np.isfinite(theta).sum())
    if n_known < LEAST_LEARNERS:
        return None, f"{n_known:,} learners with an ability from before the window, fewer than {LEAST_LEARNERS}"
    for n_strata, apart in _divisions(n_known, len(theta) - n_known):
        code = _divide(theta, n_strata, apart)
        if _on_one_scale(responses, code):
            names = np.array([*(f"{k + 1} of {n_strata}" for k in range(n_strata)), NEWCOMERS])
            first = known[code == 0]
            spread = float(np.sqrt(first["theta"].var() + (first["se"] ** 2).mean()))
            reference = (float(first["theta"].mean()) - latent_mean) / latent_sd, spread / latent_sd
            label = pd.Series(names[code], index=responses.student_ids)
            said = f"{n_strata} strata" + (" and newcomers" if apart else "")
            return Strata(label, reference, earlier["as_of"].iloc[0]), said
    return None, f"no two strata share {COMMON_ITEMS} items with {MIN_ANSWERS_ITEM_ANY} answers in each"


def _divisions(n_known: int, n_new: int) -> Iterator[tuple[int, bool]]:
    """Numbers of strata to try, from the finest, and whether newcomers are a group of their own."""
    most = min(STRATA, n_known // LEAST_LEARNERS)
    if n_new >= LEAST_LEARNERS:
        yield from ((n_strata, True) for n_strata in range(most, 0, -1))
    yield from ((n_strata, False) for n_strata in range(most, 1, -1))


def _divide(theta: NDArray[np.float64], n_strata: int, apart: bool) -> NDArray[np.int64]:
    """Stratum of every learner; without an earlier theta, that of newcomers or the one in the middle."""
    known = np.isfinite(theta)
    edges = np.quantile(theta[known], np.arange(1, n_strata) / n_strata)
    code = np.full(len(theta), n_strata if apart else n_strata // 2)
    code[known] = np.searchsorted(edges, theta[known], side="right")
    return code


def _on_one_scale(responses: Responses, code: NDArray[np.int64]) -> bool:
    """Whether the strata hang together by items that they share."""
    n_groups = int(code.max()) + 1
    group = np.repeat(code, np.diff(responses.indptr))
    cell = group * responses.n_items + (responses.answers >> 1)
    counts = np.bincount(cell, minlength=n_groups * responses.n_items).reshape(n_groups, responses.n_items)
    enough = (counts >= MIN_ANSWERS_ITEM_ANY).astype(np.int64)
    linked = enough @ enough.T >= COMMON_ITEMS
    reached = np.arange(n_groups) == 0
    for _ in range(n_groups):
        reached |= linked[reached].any(axis=0)
    return bool(reached.all()) and len(np.unique(code)) == n_groups


def on_published_scale(groups: pd.DataFrame, link: Link | None) -> pd.DataFrame:
    """Means and sds of the groups, and their errors without the link's own, where the link leads to."""
    if link is None or link.method == "fixed":  # they are there already
        return groups
    moved = {name: link.A * groups[name] for name in ("mean", "sd", "se_mean", "se_sd")}
    return groups.assign(**moved | {"mean": moved["mean"] + link.B})


def describe(strata: Strata | None, said: str, groups: pd.DataFrame) -> dict[str, Any]:
    """What mirt_fit_meta keeps of the groups, which are on the published scale."""
    if strata is None:
        return {"by": "none", "reason": said}
    rows = [
        {"group": row["group"], "n": int(row["n_persons"])}
        | {name: None if np.isnan(row[name]) else float(row[name]) for name in ("mean", "sd", "se_mean", "se_sd")}
        for row in groups.to_dict("records")
    ]
    return {"by": "earlier_ability", "known_as_of": str(strata.known_as_of), "said": said, "groups": rows}
