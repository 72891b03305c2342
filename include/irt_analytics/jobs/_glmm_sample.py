"""A sample of learners for the mixed model: stratified, proportional, and the same for the same learners."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: More learners than these, or more of their answers, are sampled. A fit on as many answers takes some minutes.
MAX_LEARNERS = 5_000
MAX_ANSWERS = 100_000

_TERCILES = ("low", "middle", "high")


@dataclass(frozen=True, eq=False)
class Sample:
    """Learners drawn.

    Attributes:
        learners: their ids, in the order of the frame they were drawn from.
        strata: one row a stratum: activity, start, learners, drawn.
        description: the sample in words and numbers, as growth_glmm_meta keeps it.
    """

    learners: list[str]
    strata: pd.DataFrame
    description: dict[str, Any]


def draw_sample(
    learners: pd.DataFrame, max_learners: int = MAX_LEARNERS, max_answers: int = MAX_ANSWERS
) -> Sample | None:
    """Draw learners so that neither they nor, about, their answers exceed the limits; None where all fit in.

    Strata are terciles of activity (answers) crossed with terciles of start ability; learners without one are a tercile
    of their own. Each gives its share of the sample (largest remainders), so estimates need no weights. Within a
    stratum the learners with the smallest SHA-256 of their id are drawn: the same ones next time.

    Args:
        learners: learner (unique ids), answers, start (NaN: unknown).
        max_learners: limit of learners.
        max_answers: limit of answers; it holds for the expected number, whole learners being drawn.
    """
    n, answers = len(learners), int(learners["answers"].sum())
    size = min(max_learners, n * max_answers // max(answers, 1))
    if size >= n:
        return None
    ids = learners["learner"].astype(str).tolist()
    ticket = pd.Series([hashlib.sha256(learner.encode()).hexdigest() for learner in ids])
    frame = pd.DataFrame(
        {
            "activity": _terciles(learners["answers"].to_numpy(dtype=np.float64), ticket),
            "start": _terciles(learners["start"].to_numpy(dtype=np.float64, na_value=np.nan), ticket),
            "ticket": ticket,
        }
    )
    strata = frame.groupby(["activity", "start"], sort=True).size().reset_index(name="learners")
    strata["drawn"] = _share_out(size, strata["learners"].to_numpy())
    frame = frame.merge(strata, on=["activity", "start"], how="left")
    rank = frame.groupby(["activity", "start"])["ticket"].rank(method="first")
    drawn = (rank <= frame["drawn"]).to_numpy()
    description = {
        "learners": n,
        "answers": answers,
        "drawn": int(drawn.sum()),
        "reason": f"more than {max_learners:,} learners" if n > max_learners else f"more than {max_answers:,} answers",
        "method": "proportional to strata: terciles of answers x terciles of start ability (the first ten answers "
        "against what the published parameters expect of a learner of mean ability); within a stratum the learners "
        "with the smallest SHA-256 of their id",
        "strata": strata.to_dict("records"),
    }
    return Sample([learner for learner, taken in zip(ids, drawn, strict=True) if taken], strata, description)


def _terciles(values: NDArray[np.float64], ticket: pd.Series[str]) -> NDArray[np.str_]:
    """Tercile of every value by rank, ties in the order of tickets; "unknown" for NaN."""
    order = pd.DataFrame({"value": values, "ticket": ticket}).sort_values(["value", "ticket"]).index.to_numpy()
    known = int(np.isfinite(values).sum())
    tercile = np.full(len(values), "unknown", dtype="<U8")
    tercile[order[:known]] = np.array(_TERCILES)[3 * np.arange(known) // max(known, 1)]
    return tercile


def _share_out(size: int, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Parts of `size` in proportion to `sizes`, rounded by largest remainders."""
    exact: NDArray[np.float64] = size * sizes / sizes.sum()
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    most = np.argsort(-(exact - parts), kind="stable")[: size - parts.sum()]
    parts[most] += 1
    return parts
