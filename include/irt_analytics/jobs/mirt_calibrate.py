"""Calibrate the items on first attempts, link them to the published scale, estimate abilities, publish."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import __version__, code_version, db
from irt_analytics.errors import ConfigurationError, RefusedError
from irt_analytics.irt import Responses, calibrate, estimate_abilities
from irt_analytics.irt.anchor_choice import AnchorChoice, choose_anchors
from irt_analytics.irt.anchors import Cohort, Scale, line_of_moments, link_anchors, on_reference, with_covariances
from irt_analytics.irt.calibrate import Calibration
from irt_analytics.irt.item_fit import item_fit
from irt_analytics.irt.linking import Link
from irt_analytics.jobs._attempts import Attempts, read_attempts, sessions
from irt_analytics.jobs._item_quality import assess, late_from, prior_of, save_quality
from irt_analytics.jobs._mirt_engine import MirtCalibration, calibrate_by_mirt
from irt_analytics.jobs._publishing import State, objections
from irt_analytics.jobs._strata import Strata, describe, on_published_scale, stratify
from irt_analytics.params import MIN_ANSWERS_ITEM_ANY, RunParams
from irt_analytics.progress import track
from irt_analytics.report.bank import LEVEL, LOW_DISCRIMINATION, MISFIT, OFF_CURVE
from irt_analytics.runner import Job, JobContext

#: Below this many items the model has as many parameters as the answers have patterns.
MIN_ITEMS = {"Rasch": 2, "2PL": 3, "3PL": 3}
#: Published items that have to carry the scale where they keep their parameters.
MIN_FIXED = 2
#: Parameters of a run that a calibration depends on.
PARAMETERS = (
    "model",
    "irt_engine",
    "linking",
    "priors",
    "groups",
    "invalid_answers",
    "irt_window_days",
    "min_answers_learner",
)
BANK_COLUMNS = [
    "item_id",
    "topic_id",
    "a",
    "b",
    "c",
    "se_a",
    "se_b",
    "se_c",
    "n_responses",
    "p_value",
    "infit",
    "outfit",
    "median_time_ms",
    "anchor",
    "status",
    "first_published_as_of",
    "cov_ab",
    "cov_ac",
    "cov_bc",
    "reference_as_of",
    "drift_statistic",
    "drift_p_value",
    "drifted",
]
#: What an anchor is judged by: how answers fit it, in this calibration and in the one published last, and its drift.
JUDGED = ("infit", "outfit", "fit_p", "rmsd", "drifted_on")

Fitted = Calibration | MirtCalibration

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """Days whose first attempts are calibrated, and why they reach further back than asked, where they do.

    Attributes:
        start: first of the days.
        incomplete: answers of these days that name no learner, no item or no correctness.
        reason: why it starts before the day asked for; None where it does not.
    """

    start: date
    incomplete: int
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a calibration rests on.

    Attributes:
        abilities: first attempts of everybody in the window that count.
        items: those of them that calibrate items: learners and items with enough of them.
        median_times: median response time of each item in milliseconds, by item id; NaN where not recorded.
        late: whether each of `items.answers` is of the second half of the window.
    """

    abilities: Responses
    items: Responses
    median_times: pd.Series[float]
    late: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class References:
    """What later calibrations link to: the parameters of every item that were published first.

    Attributes:
        items: item_id, topic_id, a, b, c, their errors, n_responses, status, run (day of the calibration that they are
            of), shared, shared_of_new: shares of their answers, and of the new ones, that both calibrations rest on;
            and `JUDGED`, where anchors are judged.
        scales: what is common to the items of a run.
    """

    items: pd.DataFrame
    scales: dict[date, Scale]


@dataclass(frozen=True, eq=False)
class FixedAnchors:
    """Anchors that keep their published parameters.

    Attributes:
        items: item_id, a, b, c.
        said: how they were chosen.
    """

    items: pd.DataFrame
    said: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Linked:
    """A calibration on the published scale.

    Attributes:
        items: the calibration's items on that scale, as `Calibration.items`.
        latent_mean: mean of theta over the learners calibrated.
        latent_sd: their sd.
        link: the line that took them there; None where this calibration sets the scale.
        choice: pool (the items among which anchors were looked for, in words) and, where there were some, which were
            left out.
        drift: item_id, statistic, p, drifted of every anchor.
        errors: what the errors of its items share, on that scale.
    """

    items: pd.DataFrame
    latent_mean: float
    latent_sd: float
    link: Link | None
    choice: dict[str, Any]
    drift: pd.DataFrame
    errors: Scale

    def constants(self) -> dict[str, object]:
        """A, B, their errors and the anchors behind them."""
        if self.link is None:
            constants: dict[str, object] = {"A": 1.0, "B": 0.0, "se_A": 0.0, "se_B": 0.0, "method": "none"}
            return constants | {"n_anchors_used": 0, "dropped": {}} | self.choice
        return self.link.linking_constants() | self.choice


def run(context: JobContext) -> None:
    """Load the window's first attempts, calibrate, link, and write the bank and the abilities of the day."""
    params = context.params
    window, attempts = _read_window(context)
    evidence = _weigh(context, window, attempts)
    del attempts
    questions = _read(context, "calibration/items", window_start=window.start, as_of=context.as_of)
    context.record.read("question", len(questions))
    # Never this day's own earlier run: a rerun must find what the first run found.
    reference = _read(context, "calibration/published_items", day=context.as_of - timedelta(days=1))
    context.record.read("mirt_item_params", len(reference))
    if reference.empty:
        _refuse_second_scale(context)
    _refuse_other_unit(reference, params)
    tagged = questions.loc[questions["tagged_anchor"], "item_id"]

    documented = documented_bank(questions, evidence.items.item_ids, params, context.as_of)
    by_documents = reference.empty and documented is not None
    unit = float(reference["latent_sd"].iloc[0]) if len(reference) else 1.0
    strata, strata_said = _stratify(context, window, evidence, reference)
    fixed = _fixed_anchors(evidence.items, documented if by_documents else reference, tagged, params)
    native = calibrate_natively(
        evidence.items, params, unit=unit, strata=strata, fixed=None if fixed is None else fixed.items
    )
    fit: Fitted = native
    if params.irt_engine == "mirt":
        # mirt cannot estimate the unit of its priors; it takes this engine's.
        fit = calibrate_by_mirt(evidence.items, params, context.settings, unit=native.weak_unit)
    for exclusion in fit.exclusions:
        context.record.exclude(exclusion.reason, exclusion.count, _examples(exclusion.ids))
    yesterday = context.as_of - timedelta(days=1)
    # Of a window that reaches further back than asked, an item that drifted in its early part may return.
    drifts_since = max(window.start, context.as_of - timedelta(days=context.params.irt_window_days))
    references = _read(context, "calibration/references", day=yesterday, drifts_since=drifts_since)
    bank_before = reference.merge(
        references[["item_id", "status", "run", "drifted_on"]], on="item_id", suffixes=("", "_reference")
    )
    if by_documents and documented is not None:
        bank_before = references = documented
    meta = _describe_fit(context, window, evidence, fit, reference, references, tagged, strata)
    if not fit.converged:
        reason = (
            f"the EM algorithm did not converge in {fit.iterations} iterations; look for items with few or one-sided "
            "answers, or calibrate with priors=weak or model=Rasch"
        )
        raise _refuse(context, meta, reason)
    theta, cohort = _estimate_cohort(evidence.items, fit, native.groups, strata)
    statistics = item_fit(evidence.items, fit.items, theta["theta"])[["item_id", "infit", "outfit"]]
    try:
        known = References(references, {context.as_of: Scale.exact()}) if by_documents else None
        known = known or _with_shares(context, window, fit, cohort, references)
        known = replace(known, items=known.items.merge(statistics, on="item_id", how="left"))
        if fixed is not None:
            linked = keep_scale(native, fixed, cohort, known.scales)
        else:
            linked = link_to_published(fit, cohort, known, tagged, params)
    except ValueError as error:
        reason = f"the calibration cannot be put on the published scale: {error}"
        raise _refuse(context, meta, reason) from None

    bank = assemble_bank(
        linked,
        statistics,
        bank_before,
        questions,
        evidence.median_times,
        tagged,
        params.item_minimum,
        context.as_of,
    )
    _count_statuses(context, bank, params.item_minimum)
    groups = on_published_scale(native.groups, linked.link)
    source = "bank" if by_documents else "published" if linked.link else "none"
    meta |= {
        "latent_mean": linked.latent_mean,
        "latent_sd": linked.latent_sd,
        "exclusions": context.record.exclusions,
        "model_spec": meta["model_spec"]
        | {
            "linking_constants": linked.constants() | {"reference": source},
            "scale_errors": _describe_errors(cohort, linked),
            "groups": describe(strata, strata_said, groups),
        },
    }
    # What is published already is not judged again: a param let it pass, or a person did.
    standing = _read(context, "calibration/standing", as_of=context.as_of)
    reasons: list[str] = []
    if meta["run_id"] in set(standing["run_id"]):
        meta["reason"] = standing["reason"].iloc[0]
    else:
        reasons = [*_decided(context, meta["run_id"]), *_unlike_published(context, fit, linked, bank, reference)]
    refusal = _refuse(context, meta, "; ".join(reasons), bank) if reasons else None
    latent = linked.latent_mean, linked.latent_sd
    if refusal is None:
        meta |= {"published": True, "published_at_as_of": context.as_of}
        _save(context, meta, bank, estimate_day(evidence.abilities, bank, *latent))
    # Of a refused one, too: what is wrong with the answers is what a person wants to know then.
    prior = prior_of(latent, groups, None if strata is None else strata.label)
    items = linked.items if fixed is None else native.items
    quality = assess(evidence.items, items, fit.model, prior, evidence.late, late_from(window.start, context.as_of))
    save_quality(context, meta["run_id"], quality)
    if refusal is not None:
        raise refusal


def _decided(context: JobContext, run_id: str) -> Iterator[str]:
    """That a person has decided about this day: what is published then is no longer the job's to change."""
    for decision in _read(context, "calibration/decision", as_of=context.as_of).itertuples():
        yield (
            f"on {decision.decided_on} {decision.decided_by} decided to {decision.decision} calibration "
            f"{decision.run_id} of this day ({decision.reason}), and a rerun does not undo that: to publish this one, "
            f"python -m irt_analytics publish {run_id} --reason ..."
        )


def _unlike_published(
    context: JobContext, fit: Fitted, linked: Linked, bank: pd.DataFrame, reference: pd.DataFrame
) -> list[str]:
    """How the calibration differs from what is published by more than the params allow."""
    if linked.link is None or reference.empty:
        return []
    last = _read(context, "calibration/published_fit", day=context.as_of - timedelta(days=1)).iloc[0]
    before = State(
        reference,
        float(last["latent_mean"]),
        float(last["latent_sd"]),
        None if pd.isna(last["log_likelihood"]) else float(last["log_likelihood"]),
        int(last["n_responses"]),
        str(last["model"]),
    )
    now = State(bank, linked.latent_mean, linked.latent_sd, fit.log_likelihood, fit.n_responses, fit.model)
    anchors = set(linked.link.dropped) | set(linked.drift["item_id"])
    return objections(linked.link, len(anchors), now, before, context.params)


def load_day(context: JobContext) -> Responses:
    """Read the answers that calibrate the items of a day."""
    return _weigh(context, *_read_window(context)).items


def load_answers(context: JobContext, window_start: date) -> Responses:
    """Read the answers that the abilities of a day rest on, its window beginning here."""
    counts = _count_answers(context, window_start)
    window = Window(window_start, int(counts["incomplete"]))
    return _weigh(context, window, _read_attempts(context, window_start, counts)).abilities


def _read(context: JobContext, query: str, **params: Any) -> pd.DataFrame:
    frame: pd.DataFrame = db.read_arrow(context.settings, query, tenant_id=context.tenant, **params).to_pandas()
    return frame


def _read_window(context: JobContext) -> tuple[Window, Attempts]:
    """The days asked for, extended backwards until half of the items answered in them have enough first attempts.

    And these first attempts; those of the days asked for are read first, and mostly they are enough.
    """
    days, minimum = context.params.irt_window_days, context.params.item_minimum
    asked = context.as_of - timedelta(days=days - 1)
    counts = _count_answers(context, asked)
    attempts = _read_attempts(context, asked, counts)
    answered, window = int(counts["items"]), Window(asked, int(counts["incomplete"]))
    enough = int((np.bincount(attempts.item, minlength=1) >= minimum).sum())
    if 0 < answered <= 2 * enough:
        return window, attempts
    ever = _read(context, "calibration/window_candidates", as_of=context.as_of, search_start=date.min, minimum=minimum)
    if ever.empty:
        raise ConfigurationError(_no_answers(context))
    start = sufficient_start(ever, asked)
    reason = (
        f"{enough:,} of the {answered:,} items answered in the {days} days asked for have {minimum} first attempts; "
    )
    if start is not None:
        answered, enough = ever.loc[ever["window_start"] == start, ["items", "items_enough"]].iloc[0]
        reason += f"since {start}, {enough:,} of {answered:,} have"
    else:
        start = ever["window_start"].iloc[-1]
        answered, enough = ever[["items", "items_enough"]].iloc[-1]
        reason += f"half never do, so all answers since {start} are used, where {enough:,} of {answered:,} have"
        if start >= asked:
            return window, attempts
    logger.info("window: %s", reason)
    del attempts
    counts = _count_answers(context, start)
    return Window(start, int(counts["incomplete"]), reason), _read_attempts(context, start, counts)


def _count_answers(context: JobContext, window_start: date) -> pd.Series[Any]:
    return _read(context, "calibration/answers", window_start=window_start, as_of=context.as_of).iloc[0]


def _read_attempts(context: JobContext, window_start: date, counts: pd.Series[Any]) -> Attempts:
    parts = sessions(int(counts["answers"]))
    halves = {"late_from": late_from(window_start, context.as_of)}
    return read_attempts(context, "calibration/first_attempts", parts, window_start=window_start, **halves)


def sufficient_start(candidates: pd.DataFrame, asked: date) -> date | None:
    """Return the last start, at `asked` or before, of a window in which half of the items have enough answers.

    Args:
        candidates: as calibration/window_candidates gives them: window_start (descending), items, items_enough; a
            start between two rows has the numbers of the later one.
        asked: the start that is wanted.
    """
    within = candidates["window_start"] >= asked
    enough = (2 * candidates["items_enough"] >= candidates["items"]).to_numpy()
    if within.any() and enough[within.to_numpy().nonzero()[0][-1]]:
        return asked
    earlier = candidates["window_start"][~within & enough]
    return None if earlier.empty else earlier.iloc[0]


def _no_answers(context: JobContext) -> str:
    first = db.read_frame(context.connection, "calibration/first_answer", tenant_id=context.tenant)["day"].iloc[0]
    if pd.isna(first):
        return f"tenant {context.tenant!r} has no answer in the view attempt: load a log, or check ATTEMPT_SOURCE"
    return (
        f"--as-of={context.as_of}: the answers of tenant {context.tenant!r} start on {first}; "
        "expected a day from then on"
    )


def _weigh(context: JobContext, window: Window, attempts: Attempts) -> Evidence:
    """Mark the invalid of a window's first attempts, and choose those that calibrate items."""
    params, record = context.params, context.record
    record.exclude("answers without learner, item or correctness", window.incomplete)
    record.read("attempt", len(attempts))
    median_times = attempts.median_times()
    valid, correct, invalid = attempts.judge(median_times, params.invalid_answers)
    invalid.exclude_from(record, params.invalid_answers)

    few = _count(attempts.student, valid, len(attempts.student_ids)) < params.min_answers_learner
    record.exclude(
        "learners under the minimum",
        int(few.sum()),
        f"fewer than {params.min_answers_learner} first attempts: they have abilities and calibrate no item",
    )
    calibrating = valid & ~few[attempts.student]
    counts = _count(attempts.item, calibrating, len(attempts.item_ids))
    rare = counts < MIN_ANSWERS_ITEM_ANY
    record.exclude(
        f"items under {MIN_ANSWERS_ITEM_ANY} first attempts",
        int(rare.sum()),
        "not calibrated; those published keep their parameters",
    )
    calibrating &= ~rare[attempts.item]
    if (~rare).sum() < MIN_ITEMS[params.model]:
        raise RefusedError(
            f"a {params.model} calibration needs at least {MIN_ITEMS[params.model]} items with {MIN_ANSWERS_ITEM_ANY} "
            f"valid first attempts of learners who have {params.min_answers_learner} of them; since {window.start}, "
            f"{len(few):,} learners answered {len(rare):,} items, of which {(~rare).sum():,} have that many (median "
            f"{np.median(counts):g}): collect more answers, or give items to more learners"
        )
    return Evidence(
        abilities=_responses(attempts, valid, correct),
        items=_responses(attempts, calibrating, correct),
        median_times=pd.Series(median_times, index=attempts.item_ids),
        # Lateness in the place of correctness, so that it is put in the order of `items`.
        late=(
            _responses(attempts, calibrating, attempts.columns["late"].to_numpy(zero_copy_only=False)).answers & 1
        ).astype(bool),
    )


def _count(index: NDArray[np.int32], which: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
    return np.bincount(index[which], minlength=length)


def _responses(attempts: Attempts, which: NDArray[np.bool_], correct: NDArray[np.bool_]) -> Responses:
    return Responses.from_long(
        pd.Categorical.from_codes(attempts.student[which], categories=attempts.student_ids),
        pd.Categorical.from_codes(attempts.item[which], categories=attempts.item_ids),
        correct[which],
    )


def _refuse_second_scale(context: JobContext) -> None:
    """A day before the first published one has no bank to link to: its scale would be another one."""
    published = db.read_frame(context.connection, "calibration/first_published", tenant_id=context.tenant)["day"].iloc[
        0
    ]
    if pd.notna(published) and published > context.as_of:
        raise RefusedError(
            f"--as-of={context.as_of}: the scale of tenant {context.tenant!r} is published since {published}, and a "
            "calibration of an earlier day has nothing to link to it: it would set a scale of its own; run days from "
            f"{published} on, or the whole past, oldest day first, as a tenant of its own"
        )


def _refuse_other_unit(reference: pd.DataFrame, params: RunParams) -> None:
    """A Rasch calibration keeps a = 1, so its unit is the logit: it cannot take over a scale of another unit."""
    if params.model == "Rasch" and (reference["a"] != 1.0).any():
        raise ConfigurationError(
            f"--model=Rasch: the published scale was set by a {reference['model'].iloc[0]} calibration, whose unit a "
            "calibration with a = 1 cannot take over; expected 2PL or 3PL, or a tenant of its own for Rasch"
        )


def _stratify(
    context: JobContext, window: Window, evidence: Evidence, reference: pd.DataFrame
) -> tuple[Strata | None, str]:
    """Groups of learners that are calibrated with means and sds of their own; or None, and why."""
    params = context.params
    if params.groups == "none":
        return None, "groups = none"
    if params.irt_engine == "mirt":
        return None, "R mirt calibrates one population here"
    if reference.empty:
        return None, "no calibration is published yet, so no ability is known from before the window"
    earlier = _read(context, "calibration/earlier_abilities", window_start=window.start)
    context.record.read("mirt_ability", len(earlier))
    latent = (float(reference[name].iloc[0]) for name in ("latent_mean", "latent_sd"))
    strata, said = stratify(evidence.items, earlier, *latent)
    logger.info("groups: %s", said)
    return strata, said


def _estimate_cohort(
    responses: Responses, fit: Fitted, groups: pd.DataFrame, strata: Strata | None
) -> tuple[pd.DataFrame, Cohort]:
    """EAPs of the learners calibrated, each under its group's distribution, and what they say of the scale."""
    fixed_unit = fit.model == "Rasch"
    if strata is None:
        theta = estimate_abilities(responses, fit.items)
        return theta, Cohort.of(theta, fit.latent_mean, fit.latent_sd, fixed_unit=fixed_unit)
    by_group = groups.set_index("group")
    prior = (strata.label.map(by_group["mean"]), strata.label.map(by_group["sd"]))
    theta = estimate_abilities(responses, fit.items, prior=prior)
    return theta, Cohort.of_groups(theta, strata.label, groups, fixed_unit=fixed_unit)


def calibrate_natively(
    responses: Responses,
    params: RunParams,
    *,
    unit: float,
    strata: Strata | None = None,
    fixed: pd.DataFrame | None = None,
) -> Calibration:
    """Calibrate on the scale of fixed items, or else of its own: theta of all has mean 0 and, but for Rasch, sd 1.

    Where all items have the weak priors, their unit is estimated; where provisional ones alone have them, it is `unit`,
    the sd of theta that is expected on the published scale. With strata the reference group is put where it is expected
    on that scale, for a unit of its own would ask for a wider grid.
    """
    weak = params.priors == "weak"
    place = strata is not None and params.model != "Rasch" and fixed is None
    unit_of_all: Literal["estimated"] | None = "estimated" if place else None
    with track("EM", None) as progress:
        done = 0

        def report(evaluations: int, log_likelihood: float, change: float) -> None:
            nonlocal done
            progress.advance(evaluations - done, f"log-likelihood {log_likelihood:,.2f}, change {change:.1e}")
            done = evaluations

        try:
            fit = calibrate(
                responses,
                model=params.model,
                priors="weak" if weak else None,
                weak_below=params.item_minimum,
                weak_unit=1.0 if fixed is not None else unit_of_all if weak else unit,
                fixed=fixed,
                group=None if strata is None else strata.label,
                latent=strata.reference if strata is not None and place else None,
                progress=report,
            )
        except ValueError as error:
            raise RefusedError(f"the answers cannot be calibrated: {error}") from None
    return fit if fixed is not None else fit.standardised()


def documented_bank(
    questions: pd.DataFrame, item_ids: pd.Index[Any], params: RunParams, as_of: date
) -> pd.DataFrame | None:
    """Parameters that the question table states, in the form of a published bank; None where they make no scale.

    They have to hold for `min_anchors` of the items that are calibrated at least; for Rasch with a = 1.
    """
    stated = questions.loc[questions["a"].notna(), ["item_id", "topic_id", "a", "b", "c"]]
    usable = stated["item_id"].isin(item_ids).sum() >= params.min_anchors
    if not usable or (params.model == "Rasch" and (stated["a"] != 1.0).any()):
        return None
    errors = dict.fromkeys(["se_a", "se_b", "se_c", "cov_ab", "cov_ac", "cov_bc"], np.nan)
    unknown = dict.fromkeys(["p_value", "median_time_ms", "fit_p", "rmsd", "drifted_on"], np.nan)
    return stated.assign(
        **errors,
        **unknown,
        n_responses=0,
        status="frozen",
        status_reference="frozen",
        first_published_as_of=as_of,
        run=as_of,
        shared=0.0,
        shared_of_new=0.0,
    )


def _with_shares(
    context: JobContext, window: Window, fit: Fitted, cohort: Cohort, references: pd.DataFrame
) -> References:
    """Read how much of what references rest on is in the new calibration too, answers and learners."""
    items = references.assign(shared=0.0, shared_of_new=0.0)
    if len(items) and items["run"].max() >= window.start:
        by_day = _read(context, "calibration/first_attempts_by_day", window_start=window.start, as_of=context.as_of)
        answers = by_day.merge(items[["item_id", "run", "window_start"]], on="item_id")
        both = answers[(answers["day"] <= answers["run"]) & (answers["day"] >= answers["window_start"])]
        counts = {name: frame.groupby("item_id")["n"].sum() for name, frame in (("all", by_day), ("both", both))}
        of_new = (counts["both"] / counts["all"]).reindex(items["item_id"]).fillna(0.0).to_numpy(dtype=np.float64)
        n_new = fit.items.set_index("item_id")["n_responses"].reindex(items["item_id"]).fillna(0).to_numpy()
        items["shared_of_new"] = of_new
        items["shared"] = np.minimum(1.0, of_new * n_new / np.maximum(items["n_responses"], 1))
    scales: dict[date, Scale] = {}
    nothing = np.zeros((2, 2))
    for run in sorted(set(items["run"])):
        own = items[items["run"] == run]
        stated = own["scale_errors"].iloc[0]
        errors = (
            {name: np.array(value) for name, value in json.loads(stated).items()} if isinstance(stated, str) else {}
        )
        scale = Scale(
            errors.get("line", nothing),
            errors.get("common", nothing),
            errors.get("scale", nothing),
            in_items=own["se_method"].iloc[0] == "full",
        )
        if "moments" in errors:
            abilities = _read(context, "calibration/abilities", day=run)
            mean, sd = (float(own[name].iloc[0]) for name in ("latent_mean", "latent_sd"))
            to_line = line_of_moments(mean, sd, fixed_unit=fit.model == "Rasch")
            scale = replace(scale, with_new=cohort.covariance_with(abilities, mean, sd, errors["moments"], to_line))
        scales[run] = scale
    return References(items, scales)


def _choose(items: pd.DataFrame, reference: pd.DataFrame, tagged: pd.Series[str], params: RunParams) -> AnchorChoice:
    """The items that carry the scale.

    Args:
        items: item_id and n_responses of what is calibrated.
        reference: the same of what is published, or documented, with b, topic_id and, where they are judged, a,
            se_a and `JUDGED`.
        tagged: ids of the items tagged as anchors.
        params: the numbers that are asked for.
    """
    judged = set(JUDGED) <= set(reference)
    reference = reference[["item_id", "b", "topic_id", "n_responses", *(("a", "se_a", *JUDGED) if judged else ())]]
    common = items[["item_id", "n_responses"]].merge(reference, on="item_id", suffixes=("", "_reference"))
    common["tagged"] = common["item_id"].isin(tagged)
    if judged:
        worst = common[["infit", "outfit"]].max(axis=1).fillna(1.0)
        off_curve = (common["fit_p"] < LEVEL) & (common["rmsd"] >= OFF_CURVE)
        upper_a = common["a"] + 1.96 * common["se_a"]
        flat = (common["a"] < LOW_DISCRIMINATION) & (upper_a < 2 * LOW_DISCRIMINATION)
        common["misfits"] = off_curve | flat | (worst > MISFIT)
        common["misfit"] = worst + off_curve + flat
        common["drifted"] = common["drifted_on"].notna()
    least, share = params.min_anchors, params.min_anchor_share
    return choose_anchors(common, least_answers=params.item_minimum, fewest=least, share=share)


def _fixed_anchors(
    responses: Responses, bank: pd.DataFrame | None, tagged: pd.Series[str], params: RunParams
) -> FixedAnchors | None:
    """The anchors at their published parameters, where they are to keep these; None where nothing is published."""
    if params.linking != "fixed" or bank is None or bank.empty:
        return None
    if params.irt_engine == "mirt":
        raise ConfigurationError("--linking=fixed: R mirt estimates every item here; expected --irt-engine=native")
    counts = pd.DataFrame({"item_id": responses.item_ids, "n_responses": responses.item_counts().sum(axis=1)})
    # Documented parameters rest on no answers here, and are known for all that.
    rests_on = bank[["item_id", "b", "topic_id"]].assign(
        n_responses=bank["n_responses"].replace(0, params.item_minimum)
    )
    choice = _choose(counts, rests_on, tagged, params)
    anchors = choice.anchors
    if len(anchors) < MIN_FIXED:
        raise RefusedError(
            f"not published: --linking=fixed needs {MIN_FIXED} published items with answers to carry the scale, and "
            f"the answers go to {len(anchors)}: give learners more items that are published already"
        )
    return FixedAnchors(bank.loc[bank["item_id"].isin(anchors), ["item_id", "a", "b", "c"]], choice.described())


def keep_scale(fit: Calibration, fixed: FixedAnchors, cohort: Cohort, scales: dict[date, Scale]) -> Linked:
    """The form of a linked calibration for one whose anchors kept their parameters (fixed-parameter calibration).

    Theta is then on the published scale as it is. A and B say where the learners are, as a link's do: theta of the
    published scale is A * z + B with z of mean 0 and sd 1, so they are the sd and the mean, which were estimated with
    the other items (prior updating in every EM cycle: Kim, 2006).
    """
    is_fixed = fit.items["item_id"].isin(fixed.items["item_id"])
    items = with_covariances(fit.items, fit.error_blocks)[~is_fixed]
    mean, sd = fit.latent_mean, fit.latent_sd
    covariance, in_units = fit.latent_covariance, np.diag([sd, 1.0])
    if not np.isfinite(covariance).all():  # no information matrix: that of the learners, the items as if known
        covariance = in_units @ cohort.moments @ in_units
    # Errors of mean m and log sd move theta by (1, -m) and (0, 1) in eps_B and eps_A.
    turn = np.array([[1.0, -mean], [0.0, 1.0]])
    common = turn @ covariance @ turn.T
    of_line = in_units @ covariance[::-1, ::-1] @ in_units
    rasch = fit.model == "Rasch"
    link = Link(
        A=sd,
        B=mean,
        se_A=0.0 if rasch else float(np.sqrt(of_line[0, 0])),
        se_B=float(np.sqrt(of_line[1, 1])),
        cov_AB=0.0 if rasch else float(of_line[0, 1]),
        method="fixed",
        symmetric=True,
        n_anchors_used=int(is_fixed.sum()),
        anchors=tuple(fit.items.loc[is_fixed, "item_id"]),
        dropped={},
    )
    before = scales[max(scales)].scale if scales else np.zeros((2, 2))
    untested = pd.DataFrame(columns=["item_id", "statistic", "p", "drifted"])
    errors = Scale(common, common, before + common, in_items=fit.se_method == "full")
    return Linked(items, mean, sd, link, fixed.said, untested, errors)


def link_to_published(
    fit: Fitted, cohort: Cohort, references: References, tagged: pd.Series[str], params: RunParams
) -> Linked:
    """Put a calibration on the published scale; the first one sets it.

    It is linked to what was first published of each anchor, so that days do not add up their errors. Anchors are those
    of `choose_anchors`; those that moved are left out.

    A first 2PL or 3PL calibration sets theta to mean 0 and sd 1, a Rasch one to mean 0 and the unit to that of a = 1
    (the logit), so that its sd is estimated. Rasch calibrations then link by B alone.

    Raises:
        ValueError: the items in common do not determine a link.
    """
    items, reference = with_covariances(fit.items, fit.error_blocks), references.items
    errors = Scale.of(items, cohort.line, in_items=fit.se_method == "full")
    if reference.empty:
        untested = pd.DataFrame(columns=["item_id", "statistic", "p", "drifted"])
        said = {"pool": "first calibration: it sets the scale"}
        return Linked(items, fit.latent_mean, fit.latent_sd, None, said, untested, errors)
    choice = _choose(items, reference, tagged, params)
    if params.linking == "fixed":
        raise ValueError("linking = fixed keeps a scale; it finds none")
    found = link_anchors(
        items,
        errors,
        reference[reference["item_id"].isin(choice.anchors)],
        references.scales,
        method=params.linking,
        test_drift=fit.se_method != "none",
    )
    line = found.line
    logger.info(
        "link: A = %.4f, B = %.4f from %d anchors (items %s), %d drifted",
        *(line.A, line.B, line.n_anchors_used, choice.pool, found.drift["drifted"].sum()),
    )
    mean, sd = line.transform_latent(fit.latent_mean, fit.latent_sd)
    moved = replace(
        errors, line=on_reference(errors.line, line), common=on_reference(errors.common, line), scale=found.scale
    )
    return Linked(line.transform_items(items), mean, sd, line, choice.described(), found.drift, moved)


def _describe_errors(cohort: Cohort, linked: Linked) -> dict[str, Any]:
    """What later links need of this calibration; moments where it set the scale, whose learners' errors stay in it."""
    errors = {"line": linked.errors.line, "common": linked.errors.common, "scale": linked.errors.scale}
    if linked.link is None:
        errors["moments"] = cohort.moments
    return {name: matrix.tolist() for name, matrix in errors.items()}


def assemble_bank(
    linked: Linked,
    statistics: pd.DataFrame,
    reference: pd.DataFrame,
    questions: pd.DataFrame,
    median_times: pd.Series[float],
    tagged: pd.Series[str],
    minimum: int,
    as_of: date,
) -> pd.DataFrame:
    """Join the calibrated items with the published ones that stay as they are; one row an item in `BANK_COLUMNS`.

    An item under the minimum keeps its published parameters (frozen), unless it has more answers now than they rest on;
    then, as without any, it has those of this calibration (provisional). Later calibrations link to an item's first
    parameters as estimated; to those of today where it drifted, or did in the window and is no anchor: answers from
    before the drift are in the window still.

    Args:
        linked: the calibration.
        statistics: infit and outfit of its items.
        reference: the published bank, with status_reference and run of the parameters that it is linked to, and
            drifted_on (last drift in the window).
        questions: topics.
        median_times: by item.
        tagged: anchors by their tag.
        minimum: first attempts of an estimated item.
        as_of: the day.
    """
    published = reference.set_index("item_id")
    items = linked.items.merge(statistics, on="item_id").set_index("item_id")
    behind_published = published["n_responses"].reindex(items.index)
    frozen = (items["n_responses"] < minimum) & (behind_published >= items["n_responses"])
    estimated = items[~frozen]
    estimated = estimated.assign(
        status=np.where(estimated["n_responses"] < minimum, "provisional", "estimated"),
        first_published_as_of=published["first_published_as_of"].reindex(estimated.index).fillna(as_of),
        median_time_ms=np.nan,
    )
    drift = linked.drift.set_index("item_id")
    begins = (
        published["run"].reindex(estimated.index).isna()
        | estimated.index.isin(drift.index[drift["drifted"].astype(bool)])
        | (published["drifted_on"].reindex(estimated.index).notna() & ~estimated.index.isin(drift.index))
        | (
            (estimated["status"] == "estimated")
            & (published["status_reference"].reindex(estimated.index) != "estimated")
        )
    )
    estimated = estimated.assign(reference_as_of=published["run"].reindex(estimated.index).mask(begins, as_of))
    kept = published[~published.index.isin(estimated.index)].assign(status="frozen")
    kept = kept.assign(reference_as_of=kept["run"])
    bank = pd.concat([estimated, kept[kept.columns.intersection(estimated.columns)]]).sort_index()
    used = linked.link.anchors if linked.link is not None else ()
    return bank.assign(
        median_time_ms=median_times.reindex(bank.index).fillna(
            kept["median_time_ms"].astype(np.float64).reindex(bank.index)
        ),
        topic_id=questions.set_index("item_id")["topic_id"]
        .reindex(bank.index)
        .fillna(published["topic_id"].reindex(bank.index)),
        anchor=bank.index.isin(used) | bank.index.isin(tagged) | bank.index.isin(drift.index),
        drift_statistic=drift["statistic"].astype(np.float64).reindex(bank.index),
        drift_p_value=drift["p"].astype(np.float64).reindex(bank.index),
        drifted=bank.index.isin(drift.index[drift["drifted"].astype(bool)]),
    ).reset_index()[BANK_COLUMNS]


def estimate_day(responses: Responses, bank: pd.DataFrame, latent_mean: float, latent_sd: float) -> pd.DataFrame:
    """EAP of every learner with an answer to an item of the bank; the prior is the calibration's own.

    Returns:
        The columns of mirt_ability but for tenant, day and run.
    """
    abilities = estimate_abilities(responses, bank, method="EAP", prior=(latent_mean, latent_sd))
    return abilities[abilities["n_responses"] > 0].rename(columns={"student_id": "user_id"}).assign(method="EAP")


def _describe_fit(
    context: JobContext,
    window: Window,
    evidence: Evidence,
    fit: Fitted,
    reference: pd.DataFrame,
    references: pd.DataFrame,
    tagged: pd.Series[str],
    strata: Strata | None,
) -> dict[str, Any]:
    """The mirt_fit_meta row of a calibration that is not published (yet)."""
    params = context.params
    parameters = {name: getattr(params, name) for name in PARAMETERS} | {"min_answers_item": params.item_minimum}
    reference_run_id = None if reference.empty else str(reference["run_id"].iloc[0])
    fingerprint = _fingerprint(evidence, tagged, reference_run_id, references, strata)
    version = code_version()
    run_id = _digest([json.dumps([context.tenant, str(context.as_of), parameters, fingerprint, version]).encode()])
    quadrature = {"n_nodes": fit.quadrature.n_nodes, "lower": fit.quadrature.lower, "upper": fit.quadrature.upper}
    return {
        "run_id": run_id[:32],
        "window_start": window.start,
        "window_end": context.as_of,
        "window_extended": window.reason is not None,
        "window_reason": window.reason,
        "model": fit.model,
        "engine": params.irt_engine,
        "engine_version": fit.engine_version if isinstance(fit, MirtCalibration) else __version__,
        "code_version": version,
        "data_fingerprint": fingerprint,
        "n_persons": fit.n_persons,
        "n_items": fit.n_items,
        "n_responses": fit.n_responses,
        "converged": fit.converged,
        "iterations": fit.iterations,
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
        "bic": fit.bic,
        "latent_mean": None,
        "latent_sd": None,
        "se_method": fit.se_method,
        "priors": _describe_priors(fit, params.item_minimum),
        "exclusions": context.record.exclusions,
        "parameters": parameters,
        "model_spec": {"quadrature": quadrature, "reference_run_id": reference_run_id},
        "published": False,
        "published_at_as_of": None,
        "reason": None,
    }


def _describe_priors(fit: Fitted, minimum: int) -> str:
    of_few = str(fit.priors_of_few)
    if of_few == str(fit.priors) or not (fit.items["n_responses"] < minimum).any():
        return str(fit.priors)
    return f"{fit.priors}; provisional items: {of_few}"


def _fingerprint(
    evidence: Evidence,
    tagged: pd.Series[str],
    reference_run_id: str | None,
    references: pd.DataFrame,
    strata: Strata | None,
) -> str:
    """Hash of what a calibration rests on: answers, item times, anchor tags, strata, the bank and what it links to."""
    parts: list[bytes] = [json.dumps([reference_run_id, sorted(tagged)]).encode()]
    for responses in (evidence.abilities, evidence.items):
        parts += [json.dumps([list(responses.student_ids), list(responses.item_ids)]).encode()]
        parts += [responses.indptr.tobytes(), responses.answers.tobytes()]
    parts.append(evidence.median_times.to_numpy().tobytes())
    references = references.sort_values("item_id")
    parts.append(references[["a", "b", "c", "fit_p", "rmsd"]].to_numpy(dtype=np.float64).tobytes())
    parts.append(references["drifted_on"].notna().to_numpy().tobytes())
    if strata is not None:
        parts.append(json.dumps([list(strata.label), strata.reference]).encode())
    return _digest(parts)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _refuse(context: JobContext, meta: dict[str, Any], reason: str, bank: pd.DataFrame | None = None) -> RefusedError:
    """Record a calibration as unpublished, with its items where it has some; what is published stays as it is."""
    meta |= {"reason": reason, "exclusions": context.record.exclusions}
    day = {"tenant_id": context.tenant, "as_of": context.as_of, "run_id": meta["run_id"]}
    db.execute(context.connection, "calibration/forget_unpublished", **day)
    _add(context, meta, bank)
    return RefusedError(f"not published: {reason}", keep_writes=True)


def _save(context: JobContext, meta: dict[str, Any], bank: pd.DataFrame, abilities: pd.DataFrame) -> None:
    """Replace what earlier runs of this tenant and day wrote."""
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    db.execute(context.connection, "calibration/forget", **day, run_id=meta["run_id"])
    _add(context, meta, bank)
    abilities = abilities.assign(run_id=meta["run_id"])
    context.record.wrote("mirt_ability", db.replace(context.connection, "mirt_ability", abilities, **day))


def _add(context: JobContext, meta: dict[str, Any], bank: pd.DataFrame | None) -> None:
    row = pd.DataFrame([meta]).assign(tenant_id=context.tenant, as_of=context.as_of)
    context.record.wrote("mirt_fit_meta", db.copy_frame(context.connection, "mirt_fit_meta", row))
    if bank is not None:
        items = bank.assign(tenant_id=context.tenant, run_id=meta["run_id"])
        context.record.wrote("mirt_item_params", db.copy_frame(context.connection, "mirt_item_params", items))


def _count_statuses(context: JobContext, bank: pd.DataFrame, minimum: int) -> None:
    counts = bank["status"].value_counts()
    context.record.exclude(
        "items on earlier parameters",
        int(counts.get("frozen", 0)),
        f"fewer than {minimum} first attempts, and not more than their published parameters rest on",
    )
    context.record.exclude(
        "items with provisional parameters",
        int(counts.get("provisional", 0)),
        f"{MIN_ANSWERS_ITEM_ANY} to {minimum - 1} first attempts, estimated under the prior",
    )


def _examples(ids: tuple[Any, ...], most: int = 3) -> str:
    return ", ".join(map(repr, ids[:most])) + (", ..." if len(ids) > most else "")


JOB = Job(name="mirt_calibrate", run=run, lock="tenant")
