"""What the KPIs of a week take from one learner's answers, for all learners: by shards, joined in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from irt_analytics.jobs._attempts import starts
from irt_analytics.jobs._growth import fortnight_growth
from irt_analytics.jobs._kpis import activity, efficiency, resolution
from irt_analytics.jobs._windows import NEVER, REACH_DAYS, session_days

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from irt_analytics.jobs._windows import Answers

    Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Findings:
    """Of some learners, who are numbered from 0 in the order of their ids' bytes; so are weeks, days since 1970.

    Attributes:
        learners: user_id.
        weekly: a row per learner and week to write, in their order: those with an answer in the eight weeks that end
            with the week's last day, with n, value, lower and upper of a_t, e_t and r_t, and what a_t rests on
            (`activity`).
        growth: growth in theta as `fortnight_growth` gives it.
        off_bank: first answers that are evidence, of learners who have such answers to items that are not in the
            bank: learner, item_id, day, correct.
        item_days: numbers of the first answers that are evidence, and of right ones: item_id, day, n, x.
        counts: numbers of answers and of first attempts of several kinds.
    """

    learners: pd.DataFrame
    weekly: pd.DataFrame
    growth: pd.DataFrame
    off_bank: pd.DataFrame
    item_days: pd.DataFrame
    counts: Counter[str]

    FRAMES: ClassVar = ("learners", "weekly", "growth", "off_bank", "item_days")
    #: Frames that have rows of learners.
    BY_LEARNER: ClassVar = ("weekly", "growth", "off_bank")

    @classmethod
    def of(cls, answers: Answers, bank: pd.DataFrame, last_days: Integers) -> Findings:
        """Find them in all answers of some learners.

        Args:
            answers: of the windows.
            bank: a, b and c by place.
            last_days: last day of each week.
        """
        scored = answers.first & answers.evidence & (answers.item >= 0)
        of_scored: dict[str, NDArray[Any]] = {
            "learner": answers.attempts.student[scored],
            "item": answers.item[scored],
            "day": answers.day[scored],
            "correct": answers.correct[scored].astype(np.int8),
        }
        return cls(
            learners=pd.DataFrame({"user_id": answers.attempts.student_ids}),
            weekly=_weekly(answers, last_days),
            growth=fortnight_growth(of_scored, bank[["a", "b", "c"]], last_days),
            off_bank=_off_bank(answers),
            item_days=_item_days(answers),
            counts=_counts(answers),
        )

    @classmethod
    def join(cls, parts: Iterable[Findings]) -> Findings:
        """Those of all learners of the parts, at least one, which have no learner in common."""
        frames: dict[str, list[pd.DataFrame]] = {name: [] for name in cls.FRAMES}
        counts: Counter[str] = Counter()
        learners = 0
        for part in parts:
            for name in cls.BY_LEARNER:
                frame = getattr(part, name)
                frames[name].append(frame.assign(learner=frame["learner"] + np.int32(learners)))
            frames["learners"].append(part.learners)
            frames["item_days"] = [_total([*frames["item_days"], part.item_days])]
            learners += len(part.learners)
            counts.update(part.counts)
        joined = {name: pd.concat(frames.pop(name), ignore_index=True) for name in cls.FRAMES}
        order = pd.Index(joined["learners"]["user_id"]).argsort()
        if not (order[1:] > order[:-1]).all():
            rank = np.empty(learners, dtype=np.int32)
            rank[order] = np.arange(learners, dtype=np.int32)
            joined["learners"] = joined["learners"].take(order).reset_index(drop=True)
            for name in cls.BY_LEARNER:
                frame = joined[name].assign(learner=rank[joined[name]["learner"]])
                joined[name] = frame.sort_values("learner", kind="stable", ignore_index=True)
        return cls(**joined, counts=counts)

    def frames(self) -> dict[str, pd.DataFrame]:
        """All frames by name."""
        return {name: getattr(self, name) for name in self.FRAMES}


def _counts(answers: Answers) -> Counter[str]:
    chosen = {
        "timed": answers.attempts.time_ms >= 0,
        "timed_out": answers.attempts.timed_out,
        "rapid": answers.rapid,
        "uncalibrated": answers.item < 0,
    }
    counts = {name: int((answers.first & which).sum()) for name, which in chosen.items()}
    return Counter(counts | {"answers": len(answers.first)})


def _weekly(answers: Answers, last_days: Integers) -> pd.DataFrame:
    parts = session_days(answers)
    learners = len(answers.attempts.student_ids)
    day, student = parts["day"].to_numpy(), parts["student"].to_numpy()
    due = np.array(
        [
            np.bincount(student[(day >= last_day - REACH_DAYS) & (day <= last_day)], minlength=learners) > 0
            for last_day in last_days
        ]
    )
    who, week = np.nonzero(due.T)
    columns: dict[str, NDArray[np.generic]] = {"learner": who.astype(np.int32), "week": week.astype(np.int8)}
    for kpi, found in (
        ("a_t", activity(parts, learners, last_days)),
        ("e_t", efficiency(answers, last_days)),
        ("r_t", resolution(answers, last_days)),
    ):
        for name, values in found.items():
            own = {"value": kpi, "n": f"{kpi}_n", "lower": f"{kpi}_lower", "upper": f"{kpi}_upper"}.get(name, name)
            columns[own] = values[week, who].astype(np.int32 if name == "n" else values.dtype)
    return pd.DataFrame(columns)


def _item_days(answers: Answers) -> pd.DataFrame:
    rows = np.flatnonzero(answers.first & answers.evidence)
    earliest = answers.day.min(initial=NEVER)
    days = int(np.ptp(answers.day)) + 1 if len(rows) else 1
    key = answers.attempts.item[rows] * np.int64(days) + (answers.day[rows] - earliest)
    order = key.argsort()
    start = starts(key[order])
    item, day = np.divmod(key[order][start], days)
    right = np.append(0, np.cumsum(answers.correct[rows[order]]))
    ends = np.append(start[1:], len(rows))
    return pd.DataFrame(
        {
            "item_id": answers.attempts.item_ids.take(item),
            "day": day + earliest,
            "n": ends - start,
            "x": right[ends] - right[start],
        }
    )


def _total(item_days: list[pd.DataFrame]) -> pd.DataFrame:
    """Numbers by item and day."""
    together = pd.concat(item_days, ignore_index=True)
    total: pd.DataFrame = together.groupby(["item_id", "day"], sort=False)[["n", "x"]].sum().reset_index()
    return total


def _off_bank(answers: Answers) -> pd.DataFrame:
    counted = answers.first & answers.evidence
    off_bank = np.zeros(len(answers.attempts.student_ids), dtype=np.bool_)
    off_bank[answers.attempts.student[counted & (answers.item < 0)]] = True
    rows = np.flatnonzero(counted & off_bank[answers.attempts.student])
    # sums over them must not depend on the order of the log
    rows = rows[
        (
            answers.attempts.student[rows] * np.int64(len(answers.attempts.item_ids)) + answers.attempts.item[rows]
        ).argsort()
    ]
    return pd.DataFrame(
        {
            "learner": answers.attempts.student[rows],
            "item_id": answers.attempts.item_ids.take(answers.attempts.item[rows]),
            "day": answers.day[rows],
            "correct": answers.correct[rows],
        }
    )
