"""Whether items and learners of a calibration behave as its model says."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.dif import differential_functioning, take_learners
from irt_analytics.irt.item_tests import curve_fit
from irt_analytics.irt.local_dependence import local_dependence
from irt_analytics.irt.person_fit import person_fit
from irt_analytics.runner import JobContext

#: p, adjusted for all items or pairs, under which a departure is called one.
LEVEL = 0.05
#: Log odds ratio of the halves of a window from which an item has shifted.
SHIFTED = 0.2
#: Centred Q3 and learners of a dependent pair.
LEAST_JOINT = 100
#: Answers of a learner whose fit is judged, and lz* under which one of twenty falls by chance.
LEAST_ANSWERS, MISFITTING = 10, -1.645
#: Learners in either half of a window that is compared.
LEAST_LEARNERS = 100
# Work that is enough: beyond it every so many learners are read.
_MOST_ANSWERS, _MOST_PAIRS = 2_000_000, 300_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Quality:
    """Rows of mirt_quality_meta, mirt_item_fit and mirt_item_pair, without tenant and run."""

    meta: dict[str, Any]
    items: pd.DataFrame
    pairs: pd.DataFrame


@dataclass
class _Samples:
    """Every how many learners an analysis reads, where it does not read all."""

    strides: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, responses: Responses, work: float, most: float) -> tuple[Responses, NDArray[np.bool_]]:
        stride = max(1, -int(-work // most))
        if stride > 1:
            self.strides[name] = stride
        kept = np.arange(responses.n_students) % stride == 0
        return take_learners(responses, kept), kept


def late_from(window_start: date, window_end: date) -> date:
    """First day of the second half of a window, the longer one."""
    return window_start + timedelta(days=((window_end - window_start).days + 1) // 2)


def prior_of(latent: tuple[float, float], groups: pd.DataFrame, label: pd.Series[str] | None) -> tuple[Any, Any]:
    """Mean and sd of theta, by learner where strata have their own.

    Args:
        latent: mean and sd of theta over all learners.
        groups: group, mean, sd of theta on the same scale.
        label: stratum of every learner, by student_id; None where there are none.
    """
    if label is None:
        return latent
    of_group = groups.set_index("group")
    return label.map(of_group["mean"]), label.map(of_group["sd"])


def assess(
    responses: Responses,
    items: pd.DataFrame,
    model: str,
    prior: tuple[Any, Any],
    late: NDArray[np.bool_],
    split: date,
) -> Quality:
    """Test items, pairs of items and learners.

    Args:
        responses: the answers calibrated.
        items: their items, on the published scale.
        model: the model calibrated.
        prior: mean and sd of theta on that scale, each a number or a series by learner.
        late: whether each of `responses.answers` was given on `split` or later.
        split: first day of the second half of the window.
    """
    samples = _Samples()
    fit = curve_fit(responses, items, cast("Model", model), prior)
    theta = estimate_abilities(responses, items, prior=prior)["theta"].to_numpy()
    lengths = np.diff(responses.indptr)
    some, kept = samples.take("pairs", responses, float((lengths * (lengths - 1) / 2).sum()), _MOST_PAIRS)
    dependence = local_dependence(some, items, theta[kept], LEAST_JOINT)
    pairs = dependence.pairs[dependence.pairs["p_adjusted"] < LEVEL]
    persons = person_fit(responses, items)
    persons = persons[(persons["n_responses"] >= LEAST_ANSWERS) & persons["lz_star"].notna()]
    shifts, of_halves = _compare_halves(responses, items, late, samples)
    tests = fit.tests.merge(shifts, on="item_id", how="left")
    tests = tests.assign(
        curve=tests["item_id"].map(_curves(fit.curves)).fillna("[]"),
        shifted=(tests["shift"].abs() >= SHIFTED) & (tests["shift_p_adjusted"] < LEVEL),
        **{name: tests[name].fillna(0).astype(np.int64) for name in ("n_early", "n_late")},
    )
    meta = {
        "n_items_tested": int(tests["p"].notna().sum()),
        "n_items_misfitting": int((tests["p_adjusted"] < LEVEL).sum()),
        "n_pairs": dependence.n_pairs,
        "n_pairs_dependent": len(pairs),
        "q3_mean": dependence.mean,
        "n_learners_tested": len(persons),
        "n_learners_misfitting": int((persons["lz_star"] < MISFITTING).sum()),
        "late_from": split,
        "n_items_compared": int(tests["shift_p"].notna().sum()),
        "n_items_shifted": int(tests["shifted"].sum()),
        "samples": samples.strides,
    } | of_halves
    if meta["n_items_compared"] == 0 and meta["shift_reason"] is None:
        meta["shift_reason"] = "no item has right and wrong answers of equally able learners in both halves"
    return Quality(meta, tests, pairs)


def _compare_halves(
    responses: Responses, items: pd.DataFrame, late: NDArray[np.bool_], samples: _Samples
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Items in the second half of the window against the first, a learner's halves having a theta each."""
    some, kept = samples.take("halves", responses, responses.n_responses, _MOST_ANSWERS)
    late = late[np.repeat(kept, np.diff(responses.indptr))]
    learner = np.repeat(np.arange(some.n_students), np.diff(some.indptr))
    half = 2 * learner + late
    indptr = np.concatenate([[0], np.cumsum(np.bincount(half, minlength=2 * some.n_students))])
    answers = some.answers[np.argsort(half, kind="stable")]
    units = Responses(pd.RangeIndex(2 * some.n_students), some.item_ids, indptr, answers)
    answered = np.diff(indptr) > 0
    units = take_learners(units, answered)
    is_late = np.arange(2 * some.n_students)[answered] % 2
    n_late = int(is_late.sum())
    n_early = len(is_late) - n_late
    described: dict[str, Any] = {"n_early": n_early, "n_late": n_late, "mean_early": None, "mean_late": None}
    columns = ["item_id", "n_early", "n_late", "shift", "shift_se", "shift_p", "shift_p_adjusted", "shift_ets"]
    if min(n_early, n_late) < LEAST_LEARNERS:
        reason = f"{n_early:,} and {n_late:,} learners in the halves of the window; {LEAST_LEARNERS} are needed in each"
        return pd.DataFrame(columns=columns), described | {"shift_reason": reason}
    found = differential_functioning(units, items, is_late, reference=0, least_learners=LEAST_LEARNERS)
    means = found.groups.set_index("group")["mean"]
    described |= {"mean_early": float(means[0]), "mean_late": float(means[1]), "shift_reason": None}
    names = {"n_reference": "n_early", "n_focal": "n_late", "log_odds": "shift", "se": "shift_se", "p": "shift_p"}
    names |= {"p_adjusted": "shift_p_adjusted", "ets": "shift_ets"}
    return found.items.rename(columns=names)[columns], described


def _curves(curves: pd.DataFrame) -> dict[Any, str]:
    points = curves[["theta", "n", "observed", "expected"]].round(4).to_dict("records")
    by_item: dict[Any, list[Any]] = {}
    for item_id, point in zip(curves["item_id"], points, strict=True):
        by_item.setdefault(item_id, []).append(point)
    return {item_id: json.dumps(values) for item_id, values in by_item.items()}


def save_quality(context: JobContext, run_id: str, quality: Quality) -> None:
    """Write the rows of a calibration whose items are written; those of an earlier try went with its calibration."""
    key = {"tenant_id": context.tenant, "run_id": run_id}
    for table, frame in (
        ("mirt_quality_meta", pd.DataFrame([quality.meta])),
        ("mirt_item_fit", quality.items),
        ("mirt_item_pair", quality.pairs),
    ):
        context.record.wrote(table, db.copy_frame(context.connection, table, frame.assign(**key)))
    meta = quality.meta
    logger.info(
        "quality: %d of %d items leave their curve, %d of %d pairs depend on each other, %d of %d items shifted, "
        "%.1f %% of %d learners answer unlike the model (5 %% expected)",
        *(meta[name] for name in ("n_items_misfitting", "n_items_tested", "n_pairs_dependent", "n_pairs")),
        *(meta[name] for name in ("n_items_shifted", "n_items_compared")),
        100.0 * meta["n_learners_misfitting"] / max(meta["n_learners_tested"], 1),
        meta["n_learners_tested"],
    )
