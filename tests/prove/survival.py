"""Learners who come back with a known hazard: their answer log, and the true probability of absence at any landmark.

The hazard of the next session is lambda(t) = exp(BASE + SESSIONS log(1 + n) - AWAY log(1 + d) + u): n sessions in the
28 days before t, d days since the last one, u a learner's own constant. Who came often comes soon, and who is away long
stays away: the hazard falls while a learner is away, so that hazards are not proportional.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SLOTS_A_DAY = 4  # at most one session begins in each
COVARIATE_DAYS = 28
HORIZON_DAYS = 14
ANSWERS_A_SESSION = 3.0


@dataclass(frozen=True)
class Hazard:
    """Parameters of the hazard; `own_sd` is the standard deviation of u."""

    base: float = -2.0
    sessions: float = 0.8
    away: float = 0.8
    own_sd: float = 0.3

    def __call__(self, sessions: Floats, days_away: Floats, own: Floats) -> Floats:
        """Hazard a day."""
        return np.asarray(
            np.exp(self.base + self.sessions * np.log1p(sessions) - self.away * np.log1p(days_away) + own)
        )


@dataclass(frozen=True)
class Returners:
    """A simulated cohort.

    Attributes:
        log: one row an answer: student_id, item_id, topic_id, correct, completed_at.
        sessions: whether a session began, slots x learners.
        own: u of each learner.
        hazard: what they were drawn from.
        last_day: last day of the log.
    """

    log: pd.DataFrame
    sessions: Bools
    own: Floats
    hazard: Hazard
    last_day: date

    def at(self, landmark: int) -> pd.DataFrame:
        """Learners active in the 28 days up to a landmark (days before the last day, as a negative number).

        Returns:
            One row a learner: learner, truth (probability of no session in the 14 days after), absent (whether there
            was none, where the log goes so far).
        """
        end = len(self.sessions) + landmark * SLOTS_A_DAY
        before, after = self.sessions[:end], self.sessions[end : end + HORIZON_DAYS * SLOTS_A_DAY]
        window = COVARIATE_DAYS * SLOTS_A_DAY
        active = np.flatnonzero(before[-window:].any(axis=0))
        last = end - 1 - np.argmax(before[::-1, active], axis=0)
        recent = np.cumsum(before[-window:, active], axis=0)
        cumulative = np.zeros(len(active))
        for slot in range(HORIZON_DAYS * SLOTS_A_DAY):
            left_window = recent[slot - 1] if slot else 0
            sessions = (recent[-1] - left_window).astype(float)
            cumulative += self.hazard(sessions, (end + slot - last) / SLOTS_A_DAY, self.own[active]) / SLOTS_A_DAY
        return pd.DataFrame({"learner": active, "truth": np.exp(-cumulative), "absent": ~after[:, active].any(axis=0)})


def simulate_returners(
    learners: int, seed: int, last_day: date, *, days: int = 160, hazard: Hazard | None = None
) -> Returners:
    """Simulate learners who join during the first three quarters of the log and come back with the hazard."""
    hazard = hazard or Hazard()
    rng = np.random.default_rng(seed)
    slots, window = days * SLOTS_A_DAY, COVARIATE_DAYS * SLOTS_A_DAY
    own = rng.normal(0.0, hazard.own_sd, learners)
    joined = np.maximum(rng.integers(-slots // 4, 3 * slots // 4, learners), 0)
    sessions = np.zeros((slots, learners), dtype=bool)
    recent = np.zeros(learners)
    last = np.full(learners, -1)
    for slot in range(slots):
        if slot >= window:
            recent -= sessions[slot - window]
        rate = np.where(last >= 0, hazard(recent, (slot - last) / SLOTS_A_DAY, own), 0.0)
        sessions[slot] = (rng.random(learners) < -np.expm1(-rate / SLOTS_A_DAY)) | (slot == joined)
        recent += sessions[slot]
        last[sessions[slot]] = slot
    return Returners(_log(sessions, rng, last_day - timedelta(days=days - 1)), sessions, own, hazard, last_day)


def _log(sessions: Bools, rng: np.random.Generator, first_day: date) -> pd.DataFrame:
    """Answers of each session: the first at a random moment of the first quarter of its slot, the others behind it."""
    slot, learner = np.nonzero(sessions)
    day_seconds = 86_400 // SLOTS_A_DAY
    begun = slot * day_seconds + rng.uniform(0, day_seconds / 4, len(slot))
    answers = 1 + rng.poisson(ANSWERS_A_SESSION - 1, len(slot))
    session = np.repeat(np.arange(len(slot)), answers)
    first = np.cumsum(answers) - answers
    seconds = begun[session] + 60.0 * (np.arange(len(session)) - first[session])
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    item = rng.integers(0, 400, len(session))
    return pd.DataFrame(
        {
            "student_id": pd.Series(learner[session]).map("s{:05}".format),
            "item_id": pd.Series(item).map("i{:03}".format),
            "topic_id": "t",
            "correct": rng.random(len(session)) < 0.7,
            "completed_at": pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s"),
        }
    )


def auc(score: Floats, positive: Bools) -> float:
    """Area under the ROC curve, as the Mann-Whitney statistic."""
    n_positive = positive.sum()
    ranks = rankdata(score)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * (~positive).sum()))


def scramble_learners(log: pd.DataFrame, last_day: date, seed: int) -> pd.DataFrame:
    """The log with every week's answers given to other learners: nobody's past tells of their future.

    Weeks end as landmarks of `last_day` do. Everything else (times, sessions, how many come) is as it was.
    """
    rng = np.random.default_rng(seed)
    learners = np.sort(log["student_id"].unique())
    end = pd.Timestamp(last_day, tz=UTC) + pd.Timedelta(days=1)
    week = (end - log["completed_at"]).dt.days // 7
    parts = [
        rows.assign(student_id=rows["student_id"].map(dict(zip(learners, rng.permutation(learners), strict=True))))
        for _, rows in log.groupby(week)
    ]
    return pd.concat(parts, ignore_index=True)
