"""Answer logs that nobody made up, and what a day of each is too small for, counted from its own rows."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class RealLog:
    """A log, looked at up to a day.

    Attributes:
        file: its file in the folder of data beside the checkout.
        as_of: the day.
        short_of: branches that it is too small for, each with how the reason must begin (of the log and the item bank).
        says: what the report must say of what the log cannot tell (of the log and the reasons).
    """

    file: str
    as_of: date
    short_of: "dict[str, Callable[[RealLog, Collection[str]], str]]"
    says: "Callable[[RealLog, Mapping[str, str]], list[str]]"

    @property
    def name(self) -> str:
        return self.file.removesuffix("_attempts.csv.gz")

    @property
    def path(self) -> Path:
        return DATA / self.file

    def lacks(self, bank: Collection[str]) -> dict[str, str]:
        """By branch that must be skipped, how its reason begins."""
        return {branch: reason(self, bank) for branch, reason in self.short_of.items()}

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Answers up to the day in their order, each with its day and the Monday of its week (UTC)."""
        answers = pd.read_csv(self.path, parse_dates=["completed_at"]).sort_values("completed_at", kind="stable")
        day = answers["completed_at"].dt.tz_localize(None).dt.normalize()
        answers = answers.assign(day=day, week=day - pd.to_timedelta(day.dt.day_of_week, unit="D"))
        within: pd.DataFrame = answers[day <= pd.Timestamp(self.as_of)]
        return within

    @cached_property
    def firsts(self) -> pd.DataFrame:
        """First answers of learners to items, without those timed out."""
        firsts = self.answers.drop_duplicates(["student_id", "item_id"])
        if "timed_out" in firsts:
            firsts = firsts[firsts["timed_out"] == 0]
        return firsts

    @property
    def first_day(self) -> date:
        first: pd.Timestamp = self.answers["day"].min()
        return first.date()

    def back(self, days: int) -> pd.Timestamp:
        """The day so many days before the log's."""
        return pd.Timestamp(self.as_of) - pd.Timedelta(days=days)


def short_of_days(log: RealLog, _bank: Collection[str]) -> str:
    """What the churn model lacks."""
    days = (log.as_of - log.first_day).days + 1
    return (
        f"the log covers {days} days, from {log.first_day} to {log.as_of}; the churn model needs 56: "
        "28 up to a first landmark, 14 to learn from and 14 to be judged by"
    )


def short_of_weeks(log: RealLog, bank: Collection[str]) -> str:
    """What the forecast lacks: weeks in which ten learners gave five answers each. The log's day is a Sunday."""
    counted = log.firsts[log.firsts["item_id"].isin(bank)]
    answers = counted.groupby(["week", "student_id"]).size()
    learners = answers[answers >= 5].groupby("week").size()
    weeks = int((learners >= 10).sum())
    return f"of the weeks from {log.back(6 + 25 * 7).date()} to {log.back(6).date()}, {weeks} have a mean theta"


def short_of_growth(log: RealLog, bank: Collection[str]) -> str:
    """What the growth model lacks: learners with answers to calibrated items in three of the last eight weeks."""
    monday = log.back(log.as_of.weekday() + 7 * 7)
    counted = log.firsts[log.firsts["item_id"].isin(bank) & (log.firsts["week"] >= monday)]
    weeks = counted.groupby("student_id")["week"].nunique()
    enough = int((weeks >= 3).sum())
    return (
        f"{enough} learners with abilities in 3 weeks or more of the 8 up to {log.as_of} "
        f"({len(weeks) - enough} with fewer); growth needs 50"
    )


def short_of_habits(log: RealLog, _bank: Collection[str]) -> str:
    """What segments lack: learners with twenty answers in three sessions within twelve weeks, seen in the last four."""
    recent = log.answers[log.answers["day"] >= log.back(12 * 7 - 1)].groupby("student_id")
    habits = recent.agg(answers=("item_id", "size"), sessions=("session_id", "nunique"), last_day=("day", "max"))
    enough = (habits["answers"] >= 20) & (habits["sessions"] >= 3) & (habits["last_day"] > log.back(28))
    return f"{int(enough.sum())} learners with 20 answers in 3 sessions within 12 weeks; segments need 40"


def says_of_statistics(log: RealLog, lacks: Mapping[str, str]) -> list[str]:
    weeks = log.answers["week"].nunique()
    return [
        f"Skipped Risk of leaving: {lacks['fit_survival_churn']}",
        f"Skipped Forecast: {lacks['forecast_prophet']}",
        "Note Hints: not recorded for",
        f"The log has {weeks} weeks of answers: trends over time mean little yet.",
    ]


def says_of_maths(log: RealLog, _lacks: Mapping[str, str]) -> list[str]:
    items = log.answers.loc[log.answers["day"] >= log.back(29), "item_id"].nunique()
    recent = log.firsts[log.firsts["day"] >= log.back(29)].groupby("item_id").size()
    ever = log.firsts.groupby("item_id").size()
    return [
        "Note Hints: not recorded for",
        "Efficiency the log has no response times",
        "Recent answers were too few to calibrate, so the window reaches back from 16 May 2005 to 13 Sep 2004.",
        f"{(recent >= 100).sum()} of the {items:,} items answered in the last 30 days have 100 first attempts; half "
        f"never do, so all answers since {log.first_day} are used, where {(ever >= 100).sum()} of {len(ever):,} have",
    ]


REAL_LOGS = [
    RealLog(
        "statistics_practice_attempts.csv.gz",
        date(2015, 12, 6),
        {
            "fit_survival_churn": short_of_days,
            "forecast_prophet": short_of_weeks,
            "fit_bayesian_growth": short_of_growth,
            "cluster_segments": short_of_habits,
        },
        says_of_statistics,
    ),
    RealLog(
        "middle_school_math_attempts.csv.gz",
        date(2005, 5, 16),
        {"fit_bayesian_growth": short_of_growth},
        says_of_maths,
    ),
]
