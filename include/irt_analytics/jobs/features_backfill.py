"""Weekly and per-topic theta of every learner, and daily features by topic.

Learners are worked through in parts, so that memory holds one part's answers, or in shards by processes of their own;
a learner's rows depend on that learner's answers, the bank and tau only, so that they are the same either way. Items
and their median times are those published by as_of, also for past weeks; the answers of a past week are those up to
its own end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.errors import RefusedError
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.topics import estimate_topic_abilities, estimate_topic_sd
from irt_analytics.jobs._attempts import (
    ATTEMPTS_A_SHARD,
    Attempts,
    InvalidAnswers,
    count_answers,
    encode,
    read_attempts,
    reading_shards,
    sessions,
)
from irt_analytics.jobs._daily_features import COMPARED_DAYS, daily_features
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

    def responses(self, unit: NDArray[np.int64], which: NDArray[np.bool_] | NDArray[np.int64]) -> Responses:
        """The chosen answers, those of a unit being those of one "student".

        Args:
            unit: number of each chosen answer's unit.
            which: mask or places of the chosen answers.
        """
        return Responses.from_long(
            unit, pd.Categorical.from_codes(self.item[which], categories=self.item_ids), self.correct[which]
        )

    def of(self, students: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which answers are those learners'."""
        theirs = np.zeros(len(self.student_ids), dtype=np.bool_)
        theirs[students] = True
        of_students: NDArray[np.bool_] = theirs[self.student]
        return of_students

    def unit(self, student: NDArray[np.int64], topic: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of learner-topics; `split` takes them apart."""
        return student * (len(self.topic_ids) + 1) + topic + 1

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
    with reading_shards(context, "attempts/window", size, sessions(context.shard, own), **params) as shards:
        # The database sorts meanwhile.
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
    attempts = attempts.take(rows)
    median_times = items["median_time_ms"].to_numpy(dtype=np.float64)
    valid, correct, invalid = attempts.judge(median_times, context.params.invalid_answers)
    evidence = Evidence(
        student_ids=attempts.student_ids,
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
    topic, topic_ids = encode(attempts.columns["topic_id"])
    evidence, _ = _find_evidence(context, attempts, attempts.first_answers(), topic, topic_ids, bank, first_day)
    span = ((context.as_of - first_day).days - evidence.day) // length
    evidence = replace(evidence, student=evidence.student * (int(span.max(initial=0)) + 1) + span)
    responses = evidence.responses(evidence.unit(evidence.student, evidence.topic), np.ones(len(span), dtype=np.bool_))
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

    topic, topic_ids = encode(attempts.columns["topic_id"])
    first = attempts.first_answers()
    evidence, invalid = _find_evidence(context, attempts, first, topic, topic_ids, bank, first_day)
    weeks = week_theta(evidence, bank, np.array([(week - first_day).days for week in plan.weeks]))
    weeks["reconstructed"] = weeks["week_start"] < len(plan.weeks) - 1
    weeks["week_start"] = np.array(plan.weeks, dtype="datetime64[s]")[weeks["week_start"]]
    save("student_week_theta", weeks, run_id=bank.run_id)

    window_days = (context.as_of - bank.window_start).days + 1
    topics = topic_theta(evidence, _window(evidence, context.as_of, window_days, first_day), bank, tau)
    of_topics = topics.assign(topic_id=topic_ids.take(topics["topic"].to_numpy())).drop(columns="topic")
    save("student_topic_theta", of_topics, tau=tau, run_id=bank.run_id)

    answered = np.where(attempts.known, topic, -1).astype(np.int64)
    days = daily_features(attempts, first, answered, attempts.days_from(first_day), (plan.first_date - first_day).days)
    known = abilities.reindex(student_ids).reset_index(drop=True).dropna().rename_axis("student").reset_index()
    student, day = days["student"].to_numpy(), days["day"].to_numpy()
    unit = evidence.unit(student, days["topic"].to_numpy())
    week_of = np.full(len(days), -1)
    theta, of_topic = np.full((2, len(days)), np.nan), np.zeros(len(days), dtype=np.bool_)
    of_learners: dict[int, NDArray[np.bool_]] = {}
    for number, week in enumerate([*plan.past_weeks, _monday(context.as_of)]):
        monday = (week - first_day).days
        rows = np.flatnonzero((day >= monday) & (day < monday + 7))
        if not len(rows):
            continue
        past = week in plan.past_weeks
        if past:
            window = _window(evidence, _sunday(week), window_days, first_day)
            estimated = topic_theta(evidence, window & evidence.of(student[rows]), bank, tau, wanted=unit[rows])
        else:
            estimated = topics
        of_units = evidence.unit(estimated["student"].to_numpy(), estimated["topic"].to_numpy())
        theta[:, rows], of_topic[rows] = _look_up(unit[rows], of_units, estimated)
        rest = rows[~of_topic[rows]]
        if past:
            week_of[rest] = number
            of_learners[number] = window & evidence.of(student[rest])
        else:
            theta[:, rest], _ = _look_up(student[rest], known["student"].to_numpy(), known)
    learners = learner_theta(evidence, of_learners, bank)
    rest, span = np.flatnonzero(week_of >= 0), len(plan.past_weeks) + 1
    of_weeks = learners["student"].to_numpy() * span + learners["window"].to_numpy()
    theta[:, rest], _ = _look_up(student[rest] * span + week_of[rest], of_weeks, learners)
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


def _look_up(
    wanted: NDArray[np.int64], key: NDArray[np.int64], theta: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Theta and se, shape (2, wanted), of the rows of `theta` that have the wanted keys, and which there are.

    `key`, of each row of `theta`, ascends.
    """
    place = np.searchsorted(key, wanted)
    found: NDArray[np.bool_] = np.append(key, -1)[place] == wanted
    values = np.full((2, len(wanted)), np.nan)
    values[:, found] = theta[["theta", "se"]].to_numpy().T[:, place[found]]
    return values, found


def _window(evidence: Evidence, last_day: date, days: int, first_day: date) -> NDArray[np.bool_]:
    """Which answers were given on the days that end with last_day."""
    last = (last_day - first_day).days
    return (evidence.day > last - days) & (evidence.day <= last)


def week_theta(evidence: Evidence, bank: Bank, mondays: NDArray[np.int64]) -> pd.DataFrame:
    """Estimate theta of every learner and week from that week's answers alone, by EAP under the latent distribution.

    The posterior is taken apart into the prior and a likelihood part of mean y and variance v, normal approximations
    both: 1/s^2 = 1/sd0^2 + 1/v and m/s^2 = mu0/sd0^2 + y/v.

    Args:
        evidence: the answers.
        bank: items and latent distribution.
        mondays: first days of the weeks, ascending, counted as `Evidence.day`.

    Returns:
        A row per learner and week with an answer: student, week_start (position in `mondays`), n, m, s, v, y, mu0, sd0;
        v and y are NaN where s >= sd0, that is where the answers say less than nothing.
    """
    week = np.searchsorted(mondays, evidence.day, side="right") - 1
    inside = (week >= 0) & (evidence.day - mondays[week] < 7)
    responses = evidence.responses((evidence.student * len(mondays) + week)[inside], inside)
    abilities = estimate_abilities(responses, bank.items, method="EAP", prior=bank.prior)
    student, week = np.divmod(abilities["student_id"].to_numpy(dtype=np.int64), len(mondays))
    mu0, sd0 = bank.prior
    m, s = abilities["theta"].to_numpy(), abilities["se"].to_numpy()
    precision = np.where(s < sd0, 1.0 / s**2 - 1.0 / sd0**2, np.nan)
    v = 1.0 / np.where(precision > 0.0, precision, np.nan)
    return pd.DataFrame(
        {
            "student": student,
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


def topic_theta(
    evidence: Evidence,
    which: NDArray[np.bool_],
    bank: Bank,
    tau: float,
    wanted: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Theta of learners and topics from the chosen answers: student, topic, theta, se, n_responses, prior_*.

    Args:
        evidence: the answers.
        which: those that are chosen.
        bank: items and latent distribution.
        tau: between-topic sd of theta.
        wanted: learner-topics (`Evidence.unit`) that get a row where they have an answer; by default all.
    """
    responses = evidence.responses(evidence.unit(evidence.student, evidence.topic)[which], which)
    student, topic = evidence.split(responses.student_ids)
    rows = topic >= 0
    if wanted is not None:
        rows &= np.isin(responses.student_ids, wanted)
    theta = estimate_topic_abilities(responses, bank.items, student, bank.prior, tau, rows)
    return theta.assign(student=student, topic=topic).drop(columns="student_id")[rows]


def learner_theta(evidence: Evidence, windows: Mapping[int, NDArray[np.bool_]], bank: Bank) -> pd.DataFrame:
    """Theta of learners from the chosen answers of each window: student, window, theta, se, n_responses."""
    span = 1 + max(windows, default=0)
    rows = [np.flatnonzero(which) for which in windows.values()]
    which = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])
    window = np.repeat(np.array(list(windows), dtype=np.int64), [len(each) for each in rows])
    abilities = estimate_abilities(
        evidence.responses(evidence.student[which] * span + window, which), bank.items, prior=bank.prior
    )
    student, window = np.divmod(abilities["student_id"].to_numpy(dtype=np.int64), span)
    return abilities.drop(columns="student_id").assign(student=student, window=window)


JOB = Job(name="features_backfill", run=run, lock="day")
