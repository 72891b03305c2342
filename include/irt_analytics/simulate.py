"""Simulates a cohort of learners whose abilities, growth, speed and churn are known.

Responses follow the 2PL model on theta plus a deviation of the learner in the item's topic; response times follow the
lognormal model with learner speed and item time intensity (van der Linden, 2007); learners leave with a constant
hazard each. Items are routed by ability: a learner meets items of fitting difficulty first, each once, and meets again
in a later session some of those answered wrong. The same seed gives the same cohort; learners are drawn in blocks, so
a cohort of any size passes through in the memory of one block.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TextIO

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from irt_analytics import db
from irt_analytics.cli import parse_day
from irt_analytics.errors import ConfigurationError
from irt_analytics.progress import track
from irt_analytics.runner import configure_logging
from irt_analytics.settings import load_settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
FileKind = Literal["parquet", "csv"]

#: Planted behaviour of each kind of learner. theta: mean at the start; growth: theta a week; sessions: a week; items:
#: new items a session; hints: an answer; rapid: share of rapid guesses; speed_up: log seconds a week; feedback: theta
#: gained on an item met before; retries: share of wrong answers tried again.
SEGMENTS = pd.DataFrame(
    {
        "segment": ["short_frequent", "long_rare", "hint_heavy", "improving", "struggling", "efficient"],
        "share": [0.22, 0.18, 0.15, 0.15, 0.15, 0.15],
        "theta": [0.0, 0.1, -0.3, -0.1, -0.9, 0.7],
        "growth": [0.010, 0.008, 0.008, 0.060, -0.015, 0.010],
        "sessions": [4.5, 0.7, 1.8, 2.2, 1.5, 2.0],
        "items": [2.0, 13.0, 5.0, 4.5, 5.0, 4.5],
        "hints": [0.2, 0.2, 1.6, 0.2, 0.4, 0.1],
        "rapid": [0.02, 0.02, 0.03, 0.01, 0.08, 0.01],
        "speed_up": [0.002, 0.002, 0.002, 0.006, 0.000, 0.025],
        "feedback": [0.8, 0.8, 0.6, 1.4, 0.2, 1.0],
        "retries": [0.5, 0.3, 0.4, 0.6, 0.4, 0.5],
    }
)

BLOCK_LEARNERS = 5_000
HAZARD_A_DAY = 0.003  # of a learner with two sessions a week
HAZARD_ON_LOG_SESSIONS = -0.5
FADING_DAYS = 21  # before a learner leaves, sessions are half as frequent
THETA_SD = 0.8
GROWTH_SD = 0.012
WALK_SD_A_WEEK = 0.03
ROUTING_SD = 0.7
ITEMS_A_UNIT = 60
RAPID_CORRECT = 0.2
RESPONSE_TIME_SD = 0.45
TIME_LIMIT_RATIO = 4.0  # of the item's time intensity
MAX_HINTS = 5
MAX_NEW_ITEMS_A_SESSION = 50
SLOT_HOURS = (7, 13, 18)  # UTC
WEEKDAY_ACTIVITY = np.array([1.15, 1.15, 1.1, 1.1, 0.95, 0.7, 0.85])
GOAL_SHARE = 0.6
ANCHOR_SHARE = 0.2


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Attributes:
        learners: one row a learner: student_id, segment, theta_start, growth (theta a week), speed (log seconds, higher
            is faster), speed_up (a week), sessions (a week), hints (an answer), feedback, started_on, churn_hazard (a
            day), churned_at (the moment the learner leaves, which may lie after as_of).
        items: one row an item: item_id, topic_id, a, b, time_intensity (log seconds).
        theta: one row a learner and weekly knot: student_id, date, theta; linear between knots.
        topics: one row a learner and topic: student_id, topic_id, deviation (of theta; mean 0 over a learner's topics).
    """

    learners: pd.DataFrame
    items: pd.DataFrame
    theta: pd.DataFrame
    topics: pd.DataFrame

    def theta_on(self, day: date) -> "pd.Series[float]":
        """Return every learner's true theta on a day of the simulated window, indexed by student_id.

        Raises:
            ValueError: the day lies outside the simulated window.
        """
        knots = self.theta["date"].unique()
        position = (pd.Timestamp(day) - knots[0]) / pd.Timedelta(weeks=1)
        if not 0 <= position <= len(knots) - 1:
            raise ValueError(f"day {day}: expected a day from {knots[0].date()} to {knots[-1].date()}")
        theta = self.theta["theta"].to_numpy().reshape(-1, len(knots))
        left = min(int(position), len(knots) - 2)
        values = theta[:, left] + (position - left) * (theta[:, left + 1] - theta[:, left])
        return pd.Series(values, index=pd.Index(self.learners["student_id"]), name="theta")


@dataclass(frozen=True)
class Cohort:
    """A simulated cohort (or a block of one).

    Attributes:
        attempts: one row an answer, by learner and time, in the columns of the `attempt` view without tenant_id.
        questions: item_id, topic_id, meta ({"tags": [...]}).
        goals: user_id, target_theta, target_date; some learners have none.
        truth: what was planted.
    """

    attempts: pd.DataFrame
    questions: pd.DataFrame
    goals: pd.DataFrame
    truth: Truth


@dataclass(frozen=True)
class Plan:
    """Size and strength of a simulation; `as_of` is its last day, `activity` scales how often learners come."""

    as_of: date
    learners: int = 1000
    items: int = 300
    topics: int = 20
    weeks: int = 26
    seed: int = 20260131
    activity: float = 1.0
    topic_sd: float = 0.3

    def __post_init__(self) -> None:
        for name, least in (("learners", 1), ("items", 1), ("topics", 1), ("weeks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)}: expected at least {least}")
        if self.items < self.topics:
            raise ConfigurationError(f"items={self.items}: expected at least one for each of {self.topics} topics")
        if not self.activity > 0 or not self.topic_sd >= 0:
            raise ConfigurationError(
                f"activity={self.activity}, topic_sd={self.topic_sd}: expected a positive number and at least 0"
            )

    @property
    def days(self) -> int:
        """Number of simulated days."""
        return 7 * self.weeks

    @property
    def first_day(self) -> date:
        """First simulated day."""
        return self.as_of - timedelta(days=self.days - 1)


def simulate_cohort(
    learners: int = 1000,
    items: int = 300,
    topics: int = 20,
    weeks: int = 26,
    seed: int = 20260131,
    *,
    as_of: date,
    activity: float = 1.0,
    topic_sd: float = 0.3,
) -> Cohort:
    """Simulate a cohort with known truth.

    Args:
        learners: number of learners; about a third of them have left by `as_of`.
        items: number of items; one in five is tagged as an anchor.
        topics: number of topics, of equal size.
        weeks: length of the log; it ends with the day `as_of`.
        seed: the same seed and sizes give the same cohort.
        as_of: last day with answers.
        activity: factor on everybody's number of sessions.
        topic_sd: between-topic standard deviation of a learner's theta.

    Raises:
        ConfigurationError: a size is out of range; names it.
    """
    plan = Plan(as_of, learners, items, topics, weeks, seed, activity, topic_sd)
    blocks = list(simulate_blocks(plan))

    def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames, ignore_index=True)

    truth = Truth(
        learners=joined([block.truth.learners for block in blocks]),
        items=blocks[0].truth.items,
        theta=joined([block.truth.theta for block in blocks]),
        topics=joined([block.truth.topics for block in blocks]),
    )
    return Cohort(
        attempts=joined([block.attempts for block in blocks]),
        questions=blocks[0].questions,
        goals=joined([block.goals for block in blocks]),
        truth=truth,
    )


def simulate_blocks(plan: Plan) -> Iterator[Cohort]:
    """Yield the cohort in blocks of learners; every block carries all items and questions."""
    root = np.random.SeedSequence(plan.seed)
    starts = range(0, plan.learners, BLOCK_LEARNERS)
    bank_seed, *block_seeds = root.spawn(1 + len(starts))
    items, questions = _draw_items(plan, np.random.default_rng(bank_seed))
    for start, seed in zip(starts, block_seeds, strict=True):
        size = min(BLOCK_LEARNERS, plan.learners - start)
        yield _Block(plan, items, np.random.default_rng(seed), start, size).cohort(questions)


def _draw_items(plan: Plan, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    number = np.arange(plan.items)
    b = rng.normal(0.0, 1.0, plan.items)
    items = pd.DataFrame(
        {
            "item_id": _names("item", number, plan.items),
            "topic_id": _names("topic", number % plan.topics, plan.topics),
            "a": rng.lognormal(0.1, 0.3, plan.items),
            "b": b,
            "time_intensity": rng.normal(np.log(25.0) + 0.15 * b, 0.3),
        }
    )
    anchors = set(rng.permutation(plan.items)[: round(ANCHOR_SHARE * plan.items)].tolist())
    questions = items[["item_id", "topic_id"]].assign(
        meta=pd.Series([{"tags": ["anchor"] if item in anchors else []} for item in range(plan.items)], dtype=object)
    )
    return items, questions


class _Block:
    """Draws one block of learners; every array over answers has one element an answer."""

    def __init__(self, plan: Plan, items: pd.DataFrame, rng: np.random.Generator, start: int, size: int) -> None:
        self.plan = plan
        self.items = items
        self.rng = rng
        self.size = size
        self.student_id = _names("learner", np.arange(start, start + size), plan.learners)

    def cohort(self, questions: pd.DataFrame) -> Cohort:
        learners = self._draw_learners()
        theta = self._draw_theta(learners)
        deviation = self._draw_topics()
        sessions = self._draw_sessions(learners)
        answers = self._draw_answers(learners, theta, deviation, sessions)
        knot_days = pd.date_range(self.plan.first_day, periods=self.plan.weeks + 1, freq="7D")
        everyone = np.arange(self.size)
        topic_names = _names("topic", np.arange(self.plan.topics), self.plan.topics)
        truth = Truth(
            learners=self._known_learners(learners),
            items=self.items,
            theta=pd.DataFrame(
                {
                    "student_id": _take(self.student_id, np.repeat(everyone, len(knot_days))),
                    "date": np.tile(knot_days, self.size),
                    "theta": theta.ravel(),
                }
            ),
            topics=pd.DataFrame(
                {
                    "student_id": _take(self.student_id, np.repeat(everyone, self.plan.topics)),
                    "topic_id": _take(topic_names, np.tile(np.arange(self.plan.topics), self.size)),
                    "deviation": deviation.ravel(),
                }
            ),
        )
        return Cohort(self._attempts(sessions, answers), questions, self._draw_goals(learners), truth)

    def _draw_learners(self) -> pd.DataFrame:
        rng, size, days = self.rng, self.size, self.plan.days
        kinds = SEGMENTS.iloc[rng.choice(len(SEGMENTS), size, p=SEGMENTS["share"].to_numpy())].reset_index(drop=True)
        newcomer = rng.random(size) < 0.4
        started = np.where(newcomer, rng.integers(0, max(1, int(0.6 * days)), size), 0)
        sessions = kinds["sessions"].to_numpy() * rng.gamma(8.0, 1 / 8.0, size) * self.plan.activity
        hazard = HAZARD_A_DAY * (sessions / (2.0 * self.plan.activity)) ** HAZARD_ON_LOG_SESSIONS
        return kinds.assign(
            theta=kinds["theta"] + rng.normal(0.0, THETA_SD, size),
            growth=kinds["growth"] + rng.normal(0.0, GROWTH_SD, size),
            speed=rng.normal(0.0, 0.25, size),
            sessions=sessions,
            started=started,
            hazard=hazard,
            churned=started + rng.exponential(1.0 / hazard),
        )

    def _known_learners(self, learners: pd.DataFrame) -> pd.DataFrame:
        first = pd.Timestamp(self.plan.first_day)
        known = learners[["segment", "growth", "speed", "speed_up", "sessions", "hints", "feedback"]].copy()
        known.insert(0, "student_id", self.student_id)
        known.insert(2, "theta_start", learners["theta"])
        known["started_on"] = first + pd.to_timedelta(learners["started"], unit="D")
        known["churn_hazard"] = learners["hazard"]
        known["churned_at"] = (first + pd.to_timedelta(learners["churned"], unit="D")).dt.tz_localize(UTC)
        return known

    def _draw_theta(self, learners: pd.DataFrame) -> Floats:
        """Theta at weekly knots, learners x (weeks + 1): a line from the learner's first day plus a random walk."""
        knots = np.arange(self.plan.weeks + 1)
        since = np.maximum(0.0, knots - learners["started"].to_numpy()[:, None] / 7)
        walk = np.cumsum(self.rng.normal(0.0, WALK_SD_A_WEEK, (self.size, len(knots))), axis=1)
        line = learners["theta"].to_numpy()[:, None] + learners["growth"].to_numpy()[:, None] * since
        return np.asarray(line + walk)

    def _draw_topics(self) -> Floats:
        deviation = self.rng.normal(0.0, self.plan.topic_sd, (self.size, self.plan.topics))
        return np.asarray(deviation - deviation.mean(axis=1, keepdims=True))

    def _draw_sessions(self, learners: pd.DataFrame) -> pd.DataFrame:
        """One row a session, by learner and time: learner, day, start (seconds from the first midnight), new items."""
        rng, days = self.rng, np.arange(self.plan.days)
        weekday = (self.plan.first_day.weekday() + days) % 7
        rate = learners["sessions"].to_numpy()[:, None] / 7 * WEEKDAY_ACTIVITY[weekday]
        left = learners["churned"].to_numpy()[:, None]
        rate = np.where(days >= left - FADING_DAYS, rate / 2, rate)
        present = (days >= learners["started"].to_numpy()[:, None]) & (days + 1 <= left)
        chance = np.where(present, -np.expm1(-rate / len(SLOT_HOURS)), 0.0).astype(np.float32)
        drawn = rng.random((self.size, self.plan.days, len(SLOT_HOURS)), dtype=np.float32) < chance[:, :, None]
        learner, day, slot = np.nonzero(drawn)
        start = day * 86_400 + np.array(SLOT_HOURS)[slot] * 3_600 + rng.uniform(0, 7_200, len(day))
        mean_items = learners["items"].to_numpy()[learner]
        new_items = np.minimum(1 + rng.poisson(mean_items - 1), MAX_NEW_ITEMS_A_SESSION)
        return pd.DataFrame({"learner": learner, "day": day, "start": start, "new_items": new_items})

    def _item_order(self, theta: Floats) -> Ints:
        """Order in which each learner meets the items, learners x items.

        Drawn without replacement with weights exp(-(b - theta)^2 / (2 ROUTING_SD^2)) (Plackett-Luce by Gumbel keys);
        within a unit of items the learner goes topic by topic.
        """
        distance = self.items["b"].to_numpy() - theta[:, None]
        keys = -0.5 * (distance / ROUTING_SD) ** 2 + self.rng.gumbel(size=distance.shape)
        order = np.argsort(-keys, axis=1)
        topic_order = self.rng.permuted(np.tile(np.arange(self.plan.topics), (self.size, 1)), axis=1)
        unit = np.arange(self.plan.items) // ITEMS_A_UNIT
        topic = np.take_along_axis(topic_order, order % self.plan.topics, axis=1)
        by_topic = np.argsort(unit * self.plan.topics + topic, axis=1, kind="stable")
        return np.take_along_axis(order, by_topic, axis=1)

    def _draw_answers(
        self, learners: pd.DataFrame, theta: Floats, deviation: Floats, sessions: pd.DataFrame
    ) -> pd.DataFrame:
        """One row an answer: session, place (order within the session), item, correct and the rest but the times."""
        rng = self.rng
        learner_of, new_items = sessions["learner"].to_numpy(), sessions["new_items"].to_numpy()
        retries = learners["retries"].to_numpy()
        last_session = np.searchsorted(learner_of, np.arange(self.size), side="right") - 1
        session = np.repeat(np.arange(len(sessions)), new_items)
        learner = learner_of[session]
        rank = _rank_within(learner)
        place = _rank_within(session).astype(np.float64)
        order = self._item_order(theta[:, 0] + rng.normal(0.0, 0.3, self.size))
        item = order[learner, rank % self.plan.items]
        seen = rank >= self.plan.items
        kept = []
        for _ in range(2):  # a wrong answer may be tried again, and a wrong second try once more
            answers = self._respond(learners, theta, deviation, sessions, session, item, seen)
            kept.append(answers.assign(session=session, place=place, item=item))
            wrong = ~answers["correct"].to_numpy()
            again = wrong & (rng.random(len(wrong)) < retries[learner_of[session]])
            later = session[again] + rng.geometric(0.6, again.sum())
            exists = later <= last_session[learner_of[session[again]]]
            item = item[again][exists]
            session = later[exists]
            place = rng.uniform(0, new_items[session])
            seen = np.ones(len(item), dtype=bool)
        return pd.concat(kept, ignore_index=True).sort_values(["session", "place"], kind="stable", ignore_index=True)

    def _respond(
        self,
        learners: pd.DataFrame,
        theta: Floats,
        deviation: Floats,
        sessions: pd.DataFrame,
        session: Ints,
        item: Ints,
        seen: Bools,
    ) -> pd.DataFrame:
        """Draw the answers to `item` in `session`; hints tell of need and do not change the answer."""
        rng = self.rng
        learner = sessions["learner"].to_numpy()[session]
        day = sessions["day"].to_numpy()[session]
        of = {name: learners[name].to_numpy()[learner] for name in ("feedback", "rapid", "speed", "speed_up", "hints")}
        week, part = day // 7, (day % 7) / 7
        now = theta[learner, week] * (1 - part) + theta[learner, week + 1] * part
        ability = now + deviation[learner, item % self.plan.topics] + np.where(seen, of["feedback"], 0.0)
        a, b, intensity = (self.items[name].to_numpy()[item] for name in ("a", "b", "time_intensity"))
        probability = 1 / (1 + np.exp(-a * (ability - b)))
        rapid = rng.random(len(item)) < of["rapid"]
        weeks_since = (day - learners["started"].to_numpy()[learner]) / 7
        log_time = intensity - of["speed"] - of["speed_up"] * weeks_since + rng.normal(0, RESPONSE_TIME_SD, len(item))
        time = np.where(rapid, np.exp(intensity) * rng.uniform(0.01, 0.06, len(item)), np.exp(log_time))
        limit = TIME_LIMIT_RATIO * np.exp(intensity)
        timed_out = time > limit
        correct = (rng.random(len(item)) < np.where(rapid, RAPID_CORRECT, probability)) & ~timed_out
        hints = np.minimum(rng.poisson(2 * (1 - probability) * of["hints"]), MAX_HINTS)
        return pd.DataFrame(
            {
                "correct": correct,
                "seconds": np.minimum(time, limit),
                "hints": np.where(rapid, 0, hints),
                "timed_out": timed_out,
            }
        )

    def _attempts(self, sessions: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
        session = answers["session"].to_numpy()
        learner = sessions["learner"].to_numpy()[session]
        item = answers["item"].to_numpy()
        milliseconds = np.maximum(1, np.round(answers["seconds"].to_numpy() * 1000)).astype(np.int64)
        pause = np.round(self.rng.exponential(4_000, len(answers))).astype(np.int64)
        elapsed = np.cumsum(milliseconds + pause)
        first = np.searchsorted(session, session, side="left")
        elapsed -= elapsed[first] - (milliseconds + pause)[first]
        completed = np.round(sessions["start"].to_numpy()[session] * 1000).astype(np.int64) + elapsed
        midnight = np.datetime64(self.plan.first_day, "ms")
        key = learner * self.plan.items + item
        by_pair = np.argsort(key, kind="stable")
        attempt_no = np.empty(len(key), dtype=np.int32)
        attempt_no[by_pair] = _rank_within(key[by_pair]) + 1
        by_learner = sessions["learner"].to_numpy()
        session_id = _take(self.student_id, by_learner) + "-s" + _numbers(_rank_within(by_learner))

        def at(milliseconds_since: Ints) -> pd.DatetimeIndex:
            return pd.DatetimeIndex(midnight + milliseconds_since.astype("timedelta64[ms]"), tz=UTC)

        attempts = pd.DataFrame(
            {
                "student_id": _take(self.student_id, learner),
                "item_id": _take(self.items["item_id"], item),
                "topic_id": _take(self.items["topic_id"], item),
                "correct": answers["correct"],
                "completed_at": at(completed),
                "started_at": at(completed - milliseconds),
                "response_time_ms": milliseconds.astype(np.int32),
                "hint_used": answers["hints"] > 0,
                "hints": answers["hints"].astype(np.int32),
                "attempt_no": attempt_no,
                "session_id": _take(session_id, session),
                "timed_out": answers["timed_out"],
            }
        )
        within = completed < self.plan.days * 86_400_000
        kept: pd.DataFrame = attempts.loc[within]
        return kept.reset_index(drop=True)

    def _draw_goals(self, learners: pd.DataFrame) -> pd.DataFrame:
        rng = self.rng
        has_goal = rng.random(self.size) < GOAL_SHARE
        gain = rng.uniform(0.1, 1.0, self.size)
        target = pd.Timestamp(self.plan.as_of) + pd.to_timedelta(rng.integers(7, 85, self.size), unit="D")
        goals = pd.DataFrame(
            {
                "user_id": self.student_id,
                "target_theta": learners["theta"].to_numpy() + gain,
                "target_date": target.date,
            }
        )
        kept: pd.DataFrame = goals.loc[has_goal]
        return kept.reset_index(drop=True)


def _rank_within(group: Ints) -> Ints:
    """Count from 0 within each run of equal values of a sorted array."""
    return np.arange(len(group)) - np.searchsorted(group, group, side="left")


def _numbers(values: Ints, width: int = 3) -> "pd.Series[str]":
    return pd.Series(values).astype("str").str.zfill(width)


def _names(prefix: str, values: Ints, total: int) -> "pd.Series[str]":
    return prefix + "-" + _numbers(values, len(str(max(total - 1, 0))))


def _take(values: "pd.Series[str]", index: Ints) -> "pd.Series[str]":
    """Repeat texts by position, through a dictionary: taking long text columns apart costs most of the time."""
    encoded = pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(values, type=pa.large_string()))
    return pd.Series(encoded.dictionary_decode(), dtype="str")


def write_database(connection: psycopg.Connection[Any], plan: Plan, tenant: str, *, replace: bool = False) -> int:
    """Write a simulated cohort as a tenant's log into attempt_log, question and learner_goal; return its answers.

    The caller commits.

    Raises:
        ConfigurationError: the tenant has answers already and `replace` is not asked for.
    """
    if not replace:
        row = connection.execute("select exists (select from attempt_log where tenant_id = %s)", (tenant,)).fetchone()
        if row is not None and row[0]:
            raise ConfigurationError(f"--tenant={tenant}: attempt_log has answers of it; --replace deletes them first")
    connection.execute("delete from attempt_log where tenant_id = %s", (tenant,))
    connection.execute("delete from learner_goal where tenant_id = %s", (tenant,))
    connection.execute("delete from question where tenant_id = %s", (tenant,))
    answers = 0
    with track("learners simulated", plan.learners) as progress:
        for number, block in enumerate(simulate_blocks(plan)):
            if number == 0:
                db.copy_frame(connection, "question", block.questions.assign(tenant_id=tenant))
            db.copy_frame(connection, "learner_goal", block.goals.assign(tenant_id=tenant))
            answers += db.copy_frame(connection, "attempt_log", block.attempts.assign(tenant_id=tenant))
            progress.advance(len(block.truth.learners), f"{answers:,} answers")
    return answers


def write_files(plan: Plan, folder: Path, kind: FileKind = "parquet", *, truth_only: bool = False) -> int:
    """Write a simulated cohort into a folder, a file a frame of `Cohort` and `Truth`; return its answers.

    The files are attempts, questions, goals (left out with `truth_only`) and truth_learners, truth_items, truth_theta,
    truth_topics; in CSV, the tags of an item are JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers = 0
    with ExitStack() as stack, track("learners simulated", plan.learners) as progress:
        append = _csv_files(folder, stack) if kind == "csv" else _parquet_files(folder, stack)
        for number, block in enumerate(simulate_blocks(plan)):
            truth = block.truth
            frames = {"truth_learners": truth.learners, "truth_theta": truth.theta, "truth_topics": truth.topics}
            if not truth_only:
                frames |= {"attempts": block.attempts, "goals": block.goals}
            if number == 0:
                frames["truth_items"] = truth.items
                if not truth_only:
                    frames["questions"] = block.questions.assign(meta=block.questions["meta"].map(json.dumps))
            for name, frame in frames.items():
                append(name, frame)
            answers += len(block.attempts)
            progress.advance(len(truth.learners), f"{answers:,} answers")
    return answers


def _parquet_files(folder: Path, stack: ExitStack) -> Callable[[str, pd.DataFrame], None]:
    writers: dict[str, pq.ParquetWriter] = {}

    def append(name: str, frame: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if name not in writers:
            writers[name] = stack.enter_context(pq.ParquetWriter(folder / f"{name}.parquet", table.schema))
        writers[name].write_table(table)

    return append


def _csv_files(folder: Path, stack: ExitStack) -> Callable[[str, pd.DataFrame], None]:
    files: dict[str, TextIO] = {}

    def append(name: str, frame: pd.DataFrame) -> None:
        new = name not in files
        if new:
            path = folder / f"{name}.csv.gz"
            stream = gzip.open(path, "wt", encoding="utf-8", compresslevel=1)  # noqa: SIM115 - the stack closes it
            files[name] = stack.enter_context(stream)
        times = frame.select_dtypes("datetimetz").columns
        text = {column: frame[column].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for column in times}
        frame.assign(**text).to_csv(files[name], index=False, header=new)

    return append


@click.command("simulate", context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--as-of", metavar="YYYY-MM-DD", help="last day with answers; default: yesterday (UTC)")
@click.option("--tenant", default="default", help="whose log the answers become")
@click.option("--learners", default=1000, type=click.IntRange(1))
@click.option("--items", default=300, type=click.IntRange(1))
@click.option("--topics", default=20, type=click.IntRange(1))
@click.option("--weeks", default=26, type=click.IntRange(1))
@click.option("--seed", default=Plan.seed, type=click.IntRange(0))
@click.option("--activity", default=1.0, type=click.FloatRange(0, min_open=True), help="factor on numbers of sessions")
@click.option("--replace", is_flag=True, help="delete the tenant's log first")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="write files here, not the database")
@click.option("--format", "kind", default="parquet", type=click.Choice(["parquet", "csv"]), help="of the files")
@click.option("--truth", type=click.Path(path_type=Path, file_okay=False), help="folder for the planted truth")
def command(
    as_of: str | None,
    tenant: str,
    learners: int,
    items: int,
    topics: int,
    weeks: int,
    seed: int,
    activity: float,
    replace: bool,
    out: Path | None,
    kind: FileKind,
    truth: Path | None,
) -> None:
    """Write a simulated cohort with known truth into the database, or into files with --out."""
    configure_logging()
    day = parse_day(as_of) if as_of else datetime.now(UTC).date() - timedelta(days=1)
    plan = Plan(day, learners, items, topics, weeks, seed, activity)
    if out is not None:
        answers, where = write_files(plan, out, kind), str(out)
    else:
        settings = load_settings()
        with db.connect(settings) as connection:
            answers = write_database(connection, plan, tenant, replace=replace)
            connection.commit()
            connection.autocommit = True
            connection.execute("analyze attempt_log, question, learner_goal")
        where = f"tenant {tenant} of {db.describe(settings)}"
        if truth is not None:
            write_files(plan, truth, kind, truth_only=True)
    click.echo(f"{answers:,} answers of {learners:,} learners, {plan.first_day} to {day}, written to {where}")
