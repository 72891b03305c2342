"""First attempts as evidence of ability, and theta of learners by week and by topic from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.topics import estimate_topic_abilities

Integers = NDArray[np.int64]


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


@dataclass(frozen=True, eq=False)
class Evidence:
    """First attempts that count, one row each, by learner, topic and item; `day` counts from the first day read.

    A missing topic has the number -1. A "learner" may be one learner within a span of days, numbered in their order.
    """

    item_ids: pd.Index[Any]
    topic_ids: pd.Index[Any]
    student: Integers
    item: NDArray[np.int32]
    topic: Integers
    day: Integers
    correct: NDArray[np.bool_]

    def take(self, rows: Integers | NDArray[np.bool_], student: Integers | None = None) -> Evidence:
        """The chosen answers, as those of other learners where they are given."""
        names = ("item", "topic", "day", "correct")
        chosen = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **chosen, student=self.student[rows] if student is None else student)

    def responses(self, unit: Integers) -> Responses:
        """The answers, those of a unit being those of one "student".

        Args:
            unit: number of each answer's unit.
        """
        return Responses.from_long(unit, pd.Categorical.from_codes(self.item, categories=self.item_ids), self.correct)

    def unit(self, student: Integers, topic: Integers) -> Integers:
        """Numbers of learner-topics; `split` takes them apart."""
        return student * (len(self.topic_ids) + 1) + topic + 1

    def split(self, unit: Any) -> tuple[Integers, Integers]:
        """Learner and topic (-1: none) of learner-topics."""
        student, topic = np.divmod(np.asarray(unit, dtype=np.int64), len(self.topic_ids) + 1)
        return student, topic - 1

    def until(self, last_day: int, days: int) -> Evidence:
        """The answers of the days that end with last_day."""
        return self.take((self.day > last_day - days) & (self.day <= last_day))

    def windows(self, last_days: Integers, days: int, wanted: NDArray[np.bool_]) -> Evidence:
        """The answers of several windows, a learner within a window being a learner of its own.

        Args:
            last_days: last day of each window, ascending.
            days: length of the windows, which may overlap.
            wanted: learners and windows that are, shape (learners, windows).

        Returns:
            The answers in the order of before; learner i within window w is number i * windows + w.
        """
        first, stop = (np.searchsorted(last_days, self.day + after) for after in (0, days))
        rows = np.repeat(np.arange(len(self.day)), stop - first)
        window = np.arange(len(rows)) - np.repeat(np.cumsum(stop - first) - stop, stop - first)
        chosen = wanted[self.student[rows], window]
        rows, window = rows[chosen], window[chosen]
        return self.take(rows, self.student[rows] * len(last_days) + window)


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
    responses = evidence.take(inside).responses((evidence.student * len(mondays) + week)[inside])
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


def topic_theta(evidence: Evidence, bank: Bank, tau: float, wanted: Integers | None = None) -> pd.DataFrame:
    """Theta of learners and topics: student, topic, theta, se, n_responses, prior_mean and prior_sd, in their order.

    Args:
        evidence: the answers.
        bank: items and latent distribution.
        tau: between-topic sd of theta.
        wanted: learner-topics (`Evidence.unit`) that get a row where they have an answer; by default all.
    """
    responses = evidence.responses(evidence.unit(evidence.student, evidence.topic))
    student, topic = evidence.split(responses.student_ids)
    rows = topic >= 0
    if wanted is not None:
        rows &= np.isin(responses.student_ids, wanted)
    theta = estimate_topic_abilities(responses, bank.items, student, bank.prior, tau, rows)
    return theta.assign(student=student, topic=topic).drop(columns="student_id")[rows]


def learner_theta(evidence: Evidence, bank: Bank) -> pd.DataFrame:
    """Theta of learners: student, theta, se, n_responses, in their order."""
    abilities = estimate_abilities(evidence.responses(evidence.student), bank.items, prior=bank.prior)
    return abilities.rename(columns={"student_id": "student"})


def look_up(wanted: Integers, key: Integers, theta: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Theta and se, shape (2, wanted), of the rows of `theta` that have the wanted keys, and which there are.

    `key`, of each row of `theta`, ascends.
    """
    place = np.searchsorted(key, wanted)
    found: NDArray[np.bool_] = np.append(key, -1)[place] == wanted
    values = np.full((2, len(wanted)), np.nan)
    values[:, found] = theta[["theta", "se"]].to_numpy().T[:, place[found]]
    return values, found
