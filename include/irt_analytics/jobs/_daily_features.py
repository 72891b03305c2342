"""Daily features of learners by topic, from all of their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from irt_analytics.jobs._attempts import starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from irt_analytics.jobs._attempts import Attempts

    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

#: Days before a day that its share correct is compared with.
COMPARED_DAYS = 28


def daily_features(attempts: Attempts, first: Booleans, topic: Integers, day: Integers, first_day: int) -> pd.DataFrame:
    """Count the answers of every learner, topic and day, and compare their share correct with that of the days before.

    Args:
        attempts: the answers of whole learners from `COMPARED_DAYS` before `first_day` on, with the column hints.
        first: whether each is the learner's first answer to the item ever.
        topic: number of each answer's topic; an answer at -1 belongs to no row.
        day: day of each answer, counted from any day.
        first_day: first day that gets rows, counted likewise.

    Returns:
        A row per learner, topic and day with an answer, in their order: student (position in `attempts.student_ids`),
        topic, day, attempts, correct, first_attempts, avg_time_ms, rt_median_ms (NaN where no time is recorded), hints
        (missing where none is), improvement (share correct minus that of the days before; NaN where those hold no
        answer).
    """
    rows = np.flatnonzero(topic >= 0)
    student, topic, day = attempts.student[rows].astype(np.int64), topic[rows], day[rows]
    earliest = int(day.min(initial=0))
    days, topics = int(day.max(initial=0)) - earliest + 1, int(topic.max(initial=0)) + 1
    key = (student * topics + topic) * days + (day - earliest)
    order = key.argsort()
    key, rows = key[order], rows[order]
    start = starts(key)
    ends = np.append(start[1:], len(key))
    # Sorted as one number, the row they belong to before the time; times not recorded are -1 and come first.
    time = np.repeat(np.arange(len(start), dtype=np.int64) << 32, ends - start) | (attempts.time_ms[rows] + np.int64(1))
    time.sort()
    time = (time & np.int64(2**32 - 1)) - 1
    hints = attempts.columns["hints"].fill_null(-1).to_numpy()[rows].astype(np.int64)

    def total(values: NDArray[np.generic]) -> Integers:
        upto = np.append(0, np.cumsum(values, dtype=np.int64))
        of_rows: Integers = upto[ends] - upto[start]
        return of_rows

    answers, timed, hinted = ends - start, total(time >= 0), total(hints >= 0)
    correct = total(attempts.correct[rows])
    middle = [time[np.minimum(ends - timed + place, len(time) - 1)] for place in ((timed - 1) // 2, timed // 2)]

    unit_day = key[start]
    before = np.searchsorted(unit_day, unit_day - np.minimum(unit_day % days, COMPARED_DAYS))
    here = np.arange(len(start))

    def total_before(values: Integers) -> Integers:
        upto = np.append(0, np.cumsum(values))
        of_rows: Integers = upto[here] - upto[before]
        return of_rows

    answers_before, correct_before = total_before(answers), total_before(correct)
    with np.errstate(invalid="ignore", divide="ignore"):
        frame = pd.DataFrame(
            {
                "student": unit_day // days // topics,
                "topic": unit_day // days % topics,
                "day": unit_day % days + earliest,
                "attempts": answers,
                "correct": correct,
                "first_attempts": total(first[rows]),
                "avg_time_ms": total(np.maximum(time, 0)) / timed,
                "rt_median_ms": np.where(timed > 0, (middle[0] + middle[1]) / 2.0, np.nan),
                "hints": pd.arrays.IntegerArray(total(np.maximum(hints, 0)), hinted == 0),
                "improvement": correct / answers - correct_before / answers_before,
            }
        )
    return frame[frame["day"] >= first_day].reset_index(drop=True)
