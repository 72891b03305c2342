"""Weekly and per-topic theta of every learner, and daily features by topic.

Learners are worked through in parts, so that memory holds one part's answers, or in shards by processes of their own;
a learner's rows depend on that learner's answers, the bank and tau only, so that they are the same either way. Items
and their median times are those published by as_of, also for past weeks; the answers of a past week are those up to
its own end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.errors import RefusedError
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.topics import estimate_topic_abilities, estimate_topic_sd
from irt_analytics.jobs._first_attempts import (
    ATTEMPTS_A_SHARD,
    FirstAttempts,
    InvalidAnswers,
    read_first_attempts,
    read_shards,
)
from irt_analytics.jobs._parts import basis, forget, keep, rows_of, shadow, take
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.progress import track
from irt_analytics.runner import Job, JobContext, Shard

HISTORY_DAYS = 7 * HISTORY_WEEKS
#: Hash buckets of learners, of which a random sample is taken.
BUCKETS = Shard.BUCKETS
TABLES = ("student_week_theta", "student_topic_theta", "features_topic_daily")
#: About as many answers are read for the estimate of tau: those of a random sample of learners.
TAU_SAMPLE = 200_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Bank:
    """The items that a run reads, and the distribution of theta that came with them.

    Attributes:
        run_id: calibration.
        window_start: first day of the answers it was calibrated on.
        items: item_id, a, b, c, median_time_ms.
        prior: mean and sd of the latent distribution.
    """

    run_id: str
    window_start: date
    items: pd.DataFrame
    prior: tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """What a run writes.

    Attributes:
        weeks: Mondays of the weeks of student_week_theta: past ones that no earlier run saw complete, and as_of's.
        first_date: first day of features_topic_daily.
        past_weeks: Mondays of the weeks before as_of's in which such days lie.
    """

    weeks: list[date]
    first_date: date
    past_weeks: list[date]


@dataclass(frozen=True, eq=False)
class Evidence:
    """First attempts that count, one row each; ids are numbers, `day` counts from the first day read.

    A missing topic has the number -1.
    """

    student_ids: pd.Index[Any]
    item_ids: pd.Index[Any]
    topic_ids: pd.Index[Any]
    student: NDArray[np.int64]
    item: NDArray[np.int32]
    topic: NDArray[np.int64]
    day: NDArray[np.int64]
    correct: NDArray[np.bool_]

    def responses(self, unit: NDArray[np.int64], which: NDArray[np.bool_]) -> Responses:
        """The chosen answers, those of a unit being those of one "student"."""
        return Responses.from_long(
            unit[which], pd.Categorical.from_codes(self.item[which], categories=self.item_ids), self.correct[which]
        )

    def unit(self) -> NDArray[np.int64]:
        """Number of each answer's learner-topic; `split` takes it apart."""
        return self.student * (len(self.topic_ids) + 1) + self.topic + 1

    def split(self, unit: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Learner and topic (-1: none) of learner-topics."""
        student, topic = np.divmod(np.asarray(unit, dtype=np.int64), len(self.topic_ids) + 1)
        return student, topic - 1


def run(context: JobContext) -> None:
    """Write student_week_theta, student_topic_theta and features_topic_daily."""
    connection, record = context.connection, context.record
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    bank = _load_bank(context)
    record.read("published_items", len(bank.items))
    history = db.read_frame(connection, "features/history", **day).iloc[0]
    plan = make_plan(context.as_of, _day_or_none(history["week_theta"]), _day_or_none(history["topic_daily"]))
    window_days = (context.as_of - bank.window_start).days
    first_day = min(
        bank.window_start, *plan.weeks, *(_sunday(week) - timedelta(days=window_days) for week in plan.past_weeks)
    )

    rests_on = basis(context, f"{bank.run_id} {plan}")
    kept = None
    if context.shard is not None:
        shadow(connection, TABLES)
    else:
        for table in TABLES:
            db.execute(connection, f"features/forget_{table}", **day)
        first_month = plan.first_date.replace(day=1)
        months = pd.period_range(first_month, context.as_of, freq="M").to_timestamp().date
        db.ensure_partitions(connection, months)
        kept = take(context, rests_on)
    if kept is not None:
        for table in TABLES:
            if table == TABLES[-1]:  # in the order of locks of a job that computes, or two could wait for each other
                db.analyze_written(connection)
            record.wrote(table, kept.copy_into(table))
        forget(context)
        counts = kept.counts
    else:
        counts = _compute(context, bank, plan, first_day)
    if context.shard is not None:
        keep(context, rests_on, {table: rows_of(table) for table in TABLES}, counts)
    record.read("attempt", counts["attempts"])
    InvalidAnswers(counts["timed_out"], counts["rapid"]).exclude_from(record, context.params.invalid_answers)


def _compute(context: JobContext, bank: Bank, plan: Plan, first_day: date) -> Counter[str]:
    """Write all tables, of all learners or of the shard's; return numbers of first attempts and of invalid ones."""
    connection, record = context.connection, context.record
    db.execute(connection, "features/past_theta")
    if context.shard is not None:  # the planner takes a shard's learners for a handful
        connection.execute("select set_config('enable_nestloop', 'off', true)")
    tau = _estimate_tau(context, bank)
    answers = _count_answers(context, first_day)
    size = min(ATTEMPTS_A_SHARD, max(1, -(-answers // context.params.shards)))
    counts: Counter[str] = Counter()
    parts = read_shards(context, "features/first_attempts", size, first_day=first_day, **context.buckets())
    with track("first attempts with theta by week and topic") as progress:
        for attempts in parts:
            invalid = _estimate_shard(context, attempts, bank, plan, first_day, tau)
            counts.update(attempts=len(attempts), timed_out=invalid.timed_out, rapid=invalid.rapid)
            progress.advance(len(attempts))
    db.analyze_written(connection)
    with track("daily features", 1) as progress:
        rows = db.execute(
            connection,
            "features/features_topic_daily",
            first_date=plan.first_date,
            tenant_id=context.tenant,
            as_of=context.as_of,
            **context.buckets(),
        )
        progress.advance(1)
    record.wrote("features_topic_daily", rows)
    return counts


def make_plan(as_of: date, last_week_theta: date | None, last_topic_daily: date | None) -> Plan:
    """Return what a run for `as_of` writes, given the last days before it that runs wrote the two histories for.

    A past week is due if it ended before as_of's week and after the last run: that run saw part of it at most. Without
    an earlier run, all of the longest window is.
    """
    monday = _monday(as_of)
    past = [monday - timedelta(weeks=weeks) for weeks in range(HISTORY_WEEKS - 1, 0, -1)]
    due = [week for week in past if last_week_theta is None or _sunday(week) > last_week_theta]
    first_date = as_of - timedelta(days=HISTORY_DAYS - 1)
    if last_topic_daily is not None:
        first_date = max(first_date, last_topic_daily + timedelta(days=1))
    weeks_between = (monday - _monday(first_date)).days // 7
    past_weeks = [monday - timedelta(weeks=weeks) for weeks in range(weeks_between, 0, -1)]
    return Plan([*due, monday], first_date, past_weeks)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _sunday(monday: date) -> date:
    return monday + timedelta(days=6)


def _day_or_none(value: Any) -> date | None:
    return None if pd.isna(value) else value


def _load_bank(context: JobContext) -> Bank:
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    calibrations = db.read_frame(context.connection, "features/calibration", **day)
    if calibrations.empty:
        raise RefusedError(
            f"tenant {context.tenant!r} has no items published by {context.as_of}: theta needs a bank; "
            "run mirt_calibrate for that day first"
        )
    calibration = calibrations.iloc[0]
    return Bank(
        run_id=calibration["run_id"],
        window_start=calibration["window_start"],
        items=db.read_arrow(context.settings, "features/bank", **day).to_pandas(),
        prior=(float(calibration["latent_mean"]), float(calibration["latent_sd"])),
    )


def _count_answers(context: JobContext, first_day: date) -> int:
    days = {"tenant_id": context.tenant, "window_start": first_day, "as_of": context.as_of}
    return int(db.read_frame(context.connection, "calibration/answers", **days).iloc[0]["answers"])


def _find_evidence(context: JobContext, attempts: FirstAttempts, bank: Bank) -> tuple[Evidence, InvalidAnswers]:
    median_times = bank.items.set_index("item_id")["median_time_ms"].reindex(attempts.item_ids)
    valid, correct, invalid = attempts.judge(median_times.to_numpy(dtype=np.float64), context.params.invalid_answers)
    topic, topic_ids = pd.factorize(attempts.columns["topic_id"].cast(pa.string()).to_pandas(), sort=True)
    evidence = Evidence(
        student_ids=attempts.student_ids,
        item_ids=attempts.item_ids,
        topic_ids=topic_ids,
        student=attempts.student[valid].astype(np.int64),
        item=attempts.item[valid],
        topic=topic[valid].astype(np.int64),
        day=attempts.columns["day"].to_numpy()[valid].astype(np.int64),
        correct=correct[valid],
    )
    return evidence, invalid


def _estimate_tau(context: JobContext, bank: Bank) -> float:
    """The between-topic sd of theta, from a random sample of learners over the longest window.

    A learner's answers are cut into spans as long as the calibration window, each with a theta of its own, so that
    growth is not taken for differences between topics. Most spans lie before that window: on the answers that the
    items were calibrated on tau comes out too small, for the items have adapted to them.
    """
    length = (context.as_of - bank.window_start).days + 1
    first_day = min(bank.window_start, context.as_of - timedelta(days=HISTORY_DAYS - 1))
    share = TAU_SAMPLE / max(_count_answers(context, first_day), 1)
    buckets = max(1, min(BUCKETS, round(BUCKETS * share)))
    attempts = read_first_attempts(
        context, "features/first_attempts", first_day=first_day, first_bucket=0, last_bucket=buckets - 1
    )
    evidence, _ = _find_evidence(context, attempts, bank)
    span = ((context.as_of - first_day).days - evidence.day) // length
    evidence = replace(evidence, student=evidence.student * (int(span.max(initial=0)) + 1) + span)
    responses = evidence.responses(evidence.unit(), np.ones(len(span), dtype=np.bool_))
    learner, _ = evidence.split(responses.student_ids)
    tau = estimate_topic_sd(responses, bank.items, learner, bank.prior)
    logger.info("between-topic sd of theta: %.3f, from %s first attempts", tau, f"{responses.n_responses:,}")
    return tau


def _estimate_shard(
    context: JobContext, attempts: FirstAttempts, bank: Bank, plan: Plan, first_day: date, tau: float
) -> InvalidAnswers:
    """Write the theta of one shard's learners by week and topic; return the numbers of their invalid answers."""
    connection, record = context.connection, context.record

    def own(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(tenant_id=context.tenant, as_of=context.as_of, run_id=bank.run_id)

    evidence, invalid = _find_evidence(context, attempts, bank)
    weeks = own(week_theta(evidence, bank, np.array([(week - first_day).days for week in plan.weeks])))
    weeks["week_start"] = np.array(plan.weeks)[weeks["week_start"]]
    weeks["reconstructed"] = weeks["week_start"] < plan.weeks[-1]
    record.wrote("student_week_theta", db.copy_frame(connection, "student_week_theta", weeks))

    window = evidence.day >= (bank.window_start - first_day).days
    topics = own(topic_theta(evidence, window, bank, tau).assign(tau=tau))
    record.wrote("student_topic_theta", db.copy_frame(connection, "student_topic_theta", topics))

    for past in past_theta(evidence, bank, plan, first_day, (context.as_of - bank.window_start).days + 1, tau):
        db.copy_frame(connection, "past_theta", past)
    return invalid


def past_theta(
    evidence: Evidence, bank: Bank, plan: Plan, first_day: date, window_days: int, tau: float
) -> Iterator[pd.DataFrame]:
    """Theta of every learner, by topic and overall (no topic_id), as of the end of each past week of the plan."""
    for week in plan.past_weeks:
        end = (_sunday(week) - first_day).days
        window = (evidence.day > end - window_days) & (evidence.day <= end)
        if window.any():
            theta = pd.concat([topic_theta(evidence, window, bank, tau), learner_theta(evidence, window, bank)])
            yield theta[["user_id", "topic_id", "theta", "se"]].assign(week_start=week)


def week_theta(evidence: Evidence, bank: Bank, mondays: NDArray[np.int64]) -> pd.DataFrame:
    """Estimate theta of every learner and week from that week's answers alone, by EAP under the latent distribution.

    The posterior is taken apart into the prior and a likelihood part of mean y and variance v, normal approximations
    both: 1/s^2 = 1/sd0^2 + 1/v and m/s^2 = mu0/sd0^2 + y/v.

    Args:
        evidence: the answers.
        bank: items and latent distribution.
        mondays: first days of the weeks, ascending, counted as `Evidence.day`.

    Returns:
        A row per learner and week with an answer: user_id, week_start (position in `mondays`), n, m, s, v, y, mu0, sd0;
        v and y are NaN where s >= sd0, that is where the answers say less than nothing.
    """
    week = np.searchsorted(mondays, evidence.day, side="right") - 1
    inside = (week >= 0) & (evidence.day - mondays[week] < 7)
    responses = evidence.responses(evidence.student * len(mondays) + week, inside)
    abilities = estimate_abilities(responses, bank.items, method="EAP", prior=bank.prior)
    student, week = np.divmod(abilities["student_id"].to_numpy(dtype=np.int64), len(mondays))
    mu0, sd0 = bank.prior
    m, s = abilities["theta"].to_numpy(), abilities["se"].to_numpy()
    precision = np.where(s < sd0, 1.0 / s**2 - 1.0 / sd0**2, np.nan)
    v = 1.0 / np.where(precision > 0.0, precision, np.nan)
    return pd.DataFrame(
        {
            "user_id": evidence.student_ids.take(student),
            "week_start": week,
            "n": abilities["n_responses"],
            "m": m,
            "s": np.where(np.isnan(v), np.maximum(s, sd0), s),
            "v": v,
            "y": v * (m / s**2 - mu0 / sd0**2),
            "mu0": mu0,
            "sd0": sd0,
        }
    )


def topic_theta(evidence: Evidence, which: NDArray[np.bool_], bank: Bank, tau: float) -> pd.DataFrame:
    """Theta of every learner and topic from the chosen answers: user_id, topic_id, theta, se, n_responses, prior_*."""
    responses = evidence.responses(evidence.unit(), which)
    learner, topic = evidence.split(responses.student_ids)
    theta = estimate_topic_abilities(responses, bank.items, learner, bank.prior, tau).drop(columns="student_id")
    theta.insert(0, "user_id", evidence.student_ids.take(learner))
    theta.insert(1, "topic_id", evidence.topic_ids.take(topic))
    return theta[topic >= 0]


def learner_theta(evidence: Evidence, which: NDArray[np.bool_], bank: Bank) -> pd.DataFrame:
    """Theta of every learner from the chosen answers: user_id, theta, se, n_responses."""
    abilities = estimate_abilities(evidence.responses(evidence.student, which), bank.items, prior=bank.prior)
    abilities["user_id"] = evidence.student_ids.take(abilities.pop("student_id").to_numpy())
    return abilities


JOB = Job(name="features_backfill", run=run, lock="day")
