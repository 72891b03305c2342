"""Weekly and per-topic theta of every learner, and daily features by topic.

Learners are worked through some at a time, in shards by processes of their own where there are such; a learner's rows
depend on that learner's answers, the bank and tau only, so that they are the same either way. Items and their median
times are those published by as_of, also for past weeks; the answers of a past week are those up to its own end.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.errors import RefusedError
from irt_analytics.irt.topics import estimate_topic_sd
from irt_analytics.jobs._attempts import (
    ATTEMPTS_A_SHARD,
    Attempts,
    InvalidAnswers,
    count_answers,
    passes,
    read_attempts,
    reading_shards,
)
from irt_analytics.jobs._daily_features import COMPARED_DAYS, daily_features
from irt_analytics.jobs._evidence import Bank, Evidence, learner_theta, look_up, topic_theta, week_theta
from irt_analytics.jobs._parts import basis, forget, keep, rows_of, shadow, take
from irt_analytics.jobs._windows import read_bank
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.progress import track
from irt_analytics.runner import Job, JobContext, Shard

HISTORY_DAYS = 7 * HISTORY_WEEKS
#: Hash buckets of learners, of which a random sample is taken.
BUCKETS = Shard.BUCKETS
TABLES = ("student_week_theta", "student_topic_theta", "features_topic_daily")
#: Tables that the theta of daily features comes from, the second before the first.
THETA_SOURCES = ("mirt_ability", "student_topic_theta")
#: About as many answers are read for the estimate of tau: those of a random sample of learners.
TAU_SAMPLE = 200_000

logger = logging.getLogger(__name__)


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
        bank.window_start,
        *plan.weeks,
        *(_sunday(week) - timedelta(days=window_days) for week in plan.past_weeks),
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
    """Write all tables, of all learners or of the shard's; return numbers of answers and of invalid ones."""
    read_from = min(first_day, plan.first_date - timedelta(days=COMPARED_DAYS))
    answers = count_answers(context, read_from)
    size = min(ATTEMPTS_A_SHARD, max(1, -(-answers // context.params.shards)))
    own = answers // (context.shard.of if context.shard else 1)
    params = {"first_day": read_from, "sessions": False, "topics": True, "look_back": True}
    counts: Counter[str] = Counter()
    with reading_shards(context, "attempts/window", size, passes(context.shard, own), **params) as shards:
        # The database sends meanwhile.
        tau = _estimate_tau(context, bank)
        abilities = db.read_arrow(context.settings, "features/abilities", tenant_id=context.tenant, as_of=context.as_of)
        abilities = abilities.to_pandas().set_index("user_id")
        with (
            track("answers with theta by week and topic, and daily features", own) as progress,
            db.writing(context.connection) as write,
        ):
            for attempts in shards:
                invalid = _save_shard(context, write, attempts, bank, plan, first_day, tau, abilities)
                counts.update(attempts=len(attempts), timed_out=invalid.timed_out, rapid=invalid.rapid)
                progress.advance(len(attempts))
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
        items=read_bank(context),
        prior=(float(calibration["latent_mean"]), float(calibration["latent_sd"])),
    )


def _find_evidence(
    context: JobContext,
    attempts: Attempts,
    first: NDArray[np.bool_],
    topic: NDArray[np.int32],
    topic_ids: pd.Index[Any],
    bank: Bank,
    first_day: date,
) -> tuple[Evidence, InvalidAnswers]:
    items = bank.items.set_index("item_id").reindex(attempts.item_ids)
    day = attempts.days_from(first_day)
    rows = np.flatnonzero(first & items["a"].notna().to_numpy()[attempts.item] & (day >= 0))
    # by learner, topic and item, whatever the order of the log
    unit = attempts.student[rows] * np.int64(len(topic_ids) + 1) + topic[rows]
    rows = rows[(unit * len(attempts.item_ids) + attempts.item[rows]).argsort()]
    attempts = attempts.take(rows)
    median_times = items["median_time_ms"].to_numpy(dtype=np.float64)
    valid, correct, invalid = attempts.judge(median_times, context.params.invalid_answers)
    evidence = Evidence(
        item_ids=attempts.item_ids,
        topic_ids=topic_ids,
        student=attempts.student[valid].astype(np.int64),
        item=attempts.item[valid],
        topic=topic[rows[valid]].astype(np.int64),
        day=day[rows[valid]],
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
    share = TAU_SAMPLE / max(count_answers(context, first_day), 1)
    buckets = max(1, min(BUCKETS, round(BUCKETS * share)))
    sample = [{"first_bucket": 0, "last_bucket": buckets - 1}]
    attempts = read_attempts(
        context, "attempts/window", sample, first_day=first_day, sessions=False, topics=True, look_back=True
    )
    topic, topic_ids = attempts.texts["topic_id"], attempts.ids["topic_id"]
    evidence, _ = _find_evidence(context, attempts, attempts.first_answers(), topic, topic_ids, bank, first_day)
    span = ((context.as_of - first_day).days - evidence.day) // length
    evidence = replace(evidence, student=evidence.student * (int(span.max(initial=0)) + 1) + span)
    responses = evidence.responses(evidence.unit(evidence.student, evidence.topic))
    learner, _ = evidence.split(responses.student_ids)
    tau = estimate_topic_sd(responses, bank.items, learner, bank.prior)
    logger.info("between-topic sd of theta: %.3f, from %s first attempts", tau, f"{responses.n_responses:,}")
    return tau


def _save_shard(
    context: JobContext,
    write: db.Writer,
    attempts: Attempts,
    bank: Bank,
    plan: Plan,
    first_day: date,
    tau: float,
    abilities: pd.DataFrame,
) -> InvalidAnswers:
    """Write one shard's learners to all tables; return the numbers of their invalid answers.

    Args:
        context: the job's.
        write: appends a frame to a table.
        attempts: all answers of the learners, of the days before `first_day` too that daily features look back to.
        bank: items and latent distribution.
        plan: what is due.
        first_day: first day whose answers theta rests on.
        tau: between-topic sd of theta.
        abilities: theta and se of the calibration by user_id, of whatever learners.
    """
    student_ids = attempts.student_ids

    def save(table: str, frame: pd.DataFrame, **values: Any) -> None:
        frame = frame.assign(tenant_id=context.tenant, as_of=context.as_of, **values)
        frame.insert(0, "user_id", student_ids.take(frame.pop("student").to_numpy()))
        write(table, frame)
        context.record.wrote(table, len(frame))

    topic, topic_ids = attempts.texts["topic_id"], attempts.ids["topic_id"]
    first = attempts.first_answers()
    evidence, invalid = _find_evidence(context, attempts, first, topic, topic_ids, bank, first_day)
    weeks = week_theta(evidence, bank, np.array([(week - first_day).days for week in plan.weeks]))
    weeks["reconstructed"] = weeks["week_start"] < len(plan.weeks) - 1
    weeks["week_start"] = np.array(plan.weeks, dtype="datetime64[s]")[weeks["week_start"]]
    save("student_week_theta", weeks, run_id=bank.run_id)

    length = (context.as_of - bank.window_start).days + 1
    topics = topic_theta(evidence.until((context.as_of - first_day).days, length), bank, tau)
    of_topics = topics.assign(topic_id=topic_ids.take(topics["topic"].to_numpy())).drop(columns="topic")
    save("student_topic_theta", of_topics, tau=tau, run_id=bank.run_id)

    answered = np.where(attempts.known, topic, -1).astype(np.int64)
    days = daily_features(attempts, first, answered, attempts.days_from(first_day), (plan.first_date - first_day).days)
    known = abilities.reindex(student_ids).reset_index(drop=True).dropna().rename_axis("student").reset_index()
    last_days = np.array([(_sunday(week) - first_day).days for week in plan.past_weeks], dtype=np.int64)
    past = (days["day"] <= last_days.max(initial=-1)).to_numpy()
    theta, of_topic = np.full((2, len(days)), np.nan), np.zeros(len(days), dtype=np.bool_)
    theta[:, past], of_topic[past] = _past_theta(days[past], evidence, len(student_ids), bank, tau, last_days, length)
    theta[:, ~past], of_topic[~past] = _present_theta(days[~past], evidence, topics, known)
    days = days.assign(
        topic_id=topic_ids.take(days.pop("topic").to_numpy()),
        date=np.datetime64(first_day, "s") + days.pop("day").to_numpy().astype("timedelta64[D]"),
        theta_mean=theta[0],
        theta_sd=theta[1],
        theta_source=pd.Categorical.from_codes(
            np.where(of_topic, 1, np.where(np.isnan(theta[0]), -1, 0)), categories=pd.Index(THETA_SOURCES)
        ),
    )
    save("features_topic_daily", days, reconstructed=days["date"] < np.datetime64(context.as_of))
    return invalid


def _present_theta(
    days: pd.DataFrame, evidence: Evidence, topics: pd.DataFrame, known: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Theta and se of daily features of as_of's week, shape (2, rows), and which are the topic's.

    Args:
        days: the rows.
        evidence: numbers learner-topics.
        topics: theta of learners and topics as of as_of.
        known: theta of learners, of the calibration.
    """
    student, topic = (days[name].to_numpy() for name in ("student", "topic"))
    of_units = evidence.unit(topics["student"].to_numpy(), topics["topic"].to_numpy())
    theta, of_topic = look_up(evidence.unit(student, topic), of_units, topics)
    theta[:, ~of_topic], _ = look_up(student[~of_topic], known["student"].to_numpy(), known)
    return theta, of_topic


def _past_theta(
    days: pd.DataFrame,
    evidence: Evidence,
    students: int,
    bank: Bank,
    tau: float,
    last_days: NDArray[np.int64],
    length: int,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The same of past weeks, each from the answers up to its own end.

    Args:
        days: the rows.
        evidence: the answers.
        students: number of learners.
        bank: items and latent distribution.
        tau: between-topic sd of theta.
        last_days: last day of each past week.
        length: days of the window that theta rests on.
    """
    student, topic, day = (days[name].to_numpy() for name in ("student", "topic", "day"))
    week = np.searchsorted(last_days, day)
    learner = student * len(last_days) + week
    wanted = np.zeros((students, len(last_days)), dtype=np.bool_)
    wanted[student, week] = True
    windows = evidence.windows(last_days, length, wanted)
    unit = windows.unit(learner, topic)
    topics = topic_theta(windows, bank, tau, wanted=unit)
    of_units = windows.unit(topics["student"].to_numpy(), topics["topic"].to_numpy())
    theta, of_topic = look_up(unit, of_units, topics)
    rest = learner[~of_topic]
    learners = learner_theta(windows.take(np.isin(windows.student, rest)), bank)
    theta[:, ~of_topic], _ = look_up(rest, learners["student"].to_numpy(), learners)
    return theta, of_topic


JOB = Job(name="features_backfill", run=run, lock="day")
