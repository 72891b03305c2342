"""The KPIs that rest on one learner's answers: activity A_t, efficiency E_t and resolution R_t, of many weeks at once.

Every function takes the answers of whole learners and the last day of each week, and gives arrays of shape (weeks,
learners); a week's numbers come from the answers of its windows only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from irt_analytics.jobs._attempts import DAY_US, argsort_within, starts
from irt_analytics.jobs._growth import Z95
from irt_analytics.jobs._windows import NEVER

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from irt_analytics.jobs._windows import Answers

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Columns = dict[str, NDArray[np.generic]]

#: Days of a long window, and of the two that efficiency compares.
LONG_WINDOW_DAYS = 28
#: Timed correct first attempts that efficiency needs in each window.
ANSWERS_A_LONG_WINDOW = 15
#: Items that resolution needs.
ITEMS_TRIED_AGAIN = 5


def activity(parts: pd.DataFrame, students: int, last_days: Integers) -> Columns:
    """A_t: how often, how regularly, with how few hints and for how long a learner works in four weeks.

    Each term's variance is that of its input taken as a sample of the learner's habits: sessions Poisson, mean gap and
    hints per attempt by their sample variance, median duration by order statistics (McKean and Schrader, 1984); a term
    at its limit has none. One session, one duration or one answer with hints recorded says nothing of its variance:
    then the interval is NaN.

    Args:
        parts: sessions by day (`session_days`), in order.
        students: number of learners.
        last_days: last day of each week, days since 1970.

    Returns:
        n (sessions), value, lower, upper (NaN without a session), some_derived, all_derived (sessions), no_hints,
        no_seconds (the term is left out for want of its input).
    """
    column = {name: parts[name].to_numpy() for name in parts.columns}
    weeks = []
    for last_day, rows in _windows(column["day"], last_days):
        who, session = column["student"][rows], column["session"][rows]
        start = starts(who * (session.max(initial=0) + 1) + session)
        who = who[start]
        began, first, ended, answers, derived, hint_answers, hints, squared_hints = (
            function.reduceat(column[name][rows], start) if len(start) else column[name][rows]
            for name, function in (
                ("began", np.minimum),
                ("first_completed", np.minimum),
                ("ended", np.maximum),
                ("answers", np.add),
                ("derived", np.logical_or),
                ("hint_answers", np.add),
                ("hints", np.add),
                ("squared_hints", np.add),
            )
        )

        def total(values: NDArray[np.generic], who: Integers = who) -> Floats:
            return np.bincount(who, values, minlength=students).astype(np.float64)

        opened = np.where(began < NEVER, began, first)
        following = np.append(opened[1:], NEVER)[: len(who)]
        following[np.append(who[1:] != who[:-1], True)[: len(who)]] = (last_day + 1) * DAY_US
        gap_ms = np.maximum(0, _milliseconds(following - ended))
        timed = (began < NEVER) | (answers > 1)
        duration_ms = _milliseconds(ended - opened)[timed]
        by_duration = argsort_within(who[timed], duration_ms)
        with np.errstate(invalid="ignore", divide="ignore"):
            n = total(np.ones(len(who)))
            mean_gap_ms = total(gap_ms) / n
            gap_variance = total((gap_ms - mean_gap_ms[who]) ** 2) / (n - 1) / n / 86_400_000.0**2
            n_hinted, n_hints = total(hint_answers), total(hints)
            mean_hints = n_hints / n_hinted
            hints_variance = np.maximum(0, total(squared_hints) - n_hints**2 / n_hinted) / (n_hinted * (n_hinted - 1))
            n_timed, median_ms, spread_ms = _order_statistics(
                duration_ms[by_duration].astype(np.float64), who[timed][by_duration], students
            )
            seconds_variance = np.where(n_timed > 1, (spread_ms / 1_000) ** 2, np.nan)

            sessions_term = np.minimum(1, n / 28)
            gap_term = np.maximum(0, 1 - mean_gap_ms / 86_400_000 / 7)
            hints_term = np.maximum(0, 1 - mean_hints / 3)
            seconds_term = np.minimum(1, median_ms / 1_000 / 900)
            no_hints, no_seconds = np.isnan(hints_term), np.isnan(seconds_term)
            weight = 0.60 + 0.20 * ~no_hints + 0.20 * ~no_seconds
            value = (
                0.35 * sessions_term
                + 0.25 * gap_term
                + np.where(no_hints, 0, 0.20 * hints_term)
                + np.where(no_seconds, 0, 0.20 * seconds_term)
            )
            variance = (
                np.where(sessions_term < 1, (0.35 / 28) ** 2 * n, 0)
                + (gap_term > 0) * (0.25 / 7) ** 2 * gap_variance
                + np.where(no_hints, 0, (hints_term > 0) * (0.20 / 3) ** 2 * hints_variance)
                + np.where(no_seconds, 0, (seconds_term < 1) * (0.20 / 900) ** 2 * seconds_variance)
            )
            half_width = Z95 * np.sqrt(variance)
            n_derived = total(derived)
            weeks.append(
                {
                    "n": n.astype(np.int64),
                    "value": value / weight,
                    "lower": np.maximum(0, (value - half_width) / weight),
                    "upper": np.minimum(1, (value + half_width) / weight),
                    "some_derived": n_derived > 0,
                    "all_derived": n_derived == n,
                    "no_hints": no_hints & (n > 0),
                    "no_seconds": no_seconds & (n > 0),
                }
            )
    return _stack(weeks)


def efficiency(answers: Answers, last_days: Integers) -> Columns:
    """E_t: the gain in speed on correct first attempts between the two four-week windows.

    The median of each window has a standard error from order statistics (McKean and Schrader, 1984), the difference of
    the two a normal interval (Price and Bonett, 2002).

    Args:
        answers: of whole learners.
        last_days: last day of each week, days since 1970.

    Returns:
        n (response times in both windows), value, lower, upper; NaN where a window has too few.
    """
    students = len(answers.attempts.student_ids)
    rows = np.flatnonzero(answers.first & answers.evidence & answers.correct & ~np.isnan(answers.relative_time))
    rows = rows[argsort_within(answers.attempts.student[rows], answers.relative_time[rows])]
    time, who, day = answers.relative_time[rows], answers.attempts.student[rows].astype(np.int64), answers.day[rows]
    ends = np.unique(np.concatenate([last_days, last_days - LONG_WINDOW_DAYS]))
    of_window = {end: _order_statistics(time[rows], who[rows], students) for end, rows in _windows(day, ends)}
    weeks = []
    for last_day in last_days:
        n, median, spread = of_window[last_day]
        n_before, median_before, spread_before = of_window[last_day - LONG_WINDOW_DAYS]
        enough = np.minimum(n, n_before) >= ANSWERS_A_LONG_WINDOW
        difference = np.where(enough, median - median_before, np.nan)
        half_width = Z95 * np.sqrt(spread**2 + spread_before**2)
        weeks.append(
            {
                "n": n + n_before,
                "value": np.maximum(-1, 1 - np.exp(difference)),
                "lower": np.maximum(-1, 1 - np.exp(difference + half_width)),
                "upper": np.maximum(-1, 1 - np.exp(difference - half_width)),
            }
        )
    return _stack(weeks)


def resolution(answers: Answers, last_days: Integers) -> Columns:
    """R_t: of the items answered wrong and tried in a later session of the same four weeks, the share answered right.

    Interval: Wilson (1927).

    Args:
        answers: of whole learners.
        last_days: last day of each week, days since 1970.

    Returns:
        n (items tried again), value, lower, upper; NaN where there are too few.
    """
    students = len(answers.attempts.student_ids)
    pair = answers.attempts.student.astype(np.int64) * len(answers.attempts.item_ids) + answers.attempts.item
    # Most items were answered once, or never wrong: they are put aside first.
    rows = np.flatnonzero(answers.evidence & np.isin(pair, pair[answers.evidence & ~answers.first]))
    rows = rows[np.isin(pair[rows], pair[rows][~answers.correct[rows]])]
    rows = rows[pair[rows].argsort()]
    pair, who = pair[rows], answers.attempts.student[rows].astype(np.int64)
    right, session, day = answers.correct[rows], answers.session[rows], answers.day[rows]
    weeks = []
    for _, inside in _windows(day, last_days):
        key = pair[inside]
        start = starts(key)
        if len(start):
            sizes = np.diff(np.append(start, len(key)))
            wrong_session = np.minimum.reduceat(np.where(right[inside], NEVER, session[inside]), start)
            later = session[inside] > np.repeat(wrong_session, sizes)
            again = np.logical_or.reduceat(later, start)
            resolved = np.logical_or.reduceat(later & right[inside], start)
        else:
            again = resolved = np.zeros(0, dtype=np.bool_)
        owner = who[inside][start]
        n = np.bincount(owner, again, minlength=students)
        x = np.bincount(owner, resolved, minlength=students)
        n_needed = np.where(n >= ITEMS_TRIED_AGAIN, n, np.nan)
        spread = Z95 * np.sqrt(x * (n - x) / n_needed + Z95**2 / 4)
        weeks.append(
            {
                "n": n.astype(np.int64),
                "value": x / n_needed,
                "lower": np.maximum(0, (x + Z95**2 / 2 - spread) / (n_needed + Z95**2)),
                "upper": np.minimum(1, (x + Z95**2 / 2 + spread) / (n_needed + Z95**2)),
            }
        )
    return _stack(weeks)


def median_relative_time(answers: Answers) -> tuple[Integers, Floats]:
    """Number of every learner's timed first attempts that count, and the median of their relative times (else NaN)."""
    rows = np.flatnonzero(answers.first & ~np.isnan(answers.relative_time))
    who = answers.attempts.student[rows].astype(np.int64)
    order = argsort_within(who, answers.relative_time[rows])
    n, median, _ = _order_statistics(answers.relative_time[rows][order], who[order], len(answers.attempts.student_ids))
    return n, median


def _windows(day: Integers, last_days: Integers) -> Iterator[tuple[int, Integers]]:
    """Every last day with the rows of the four weeks that end with it, in their order."""
    for last_day in last_days.tolist():
        yield last_day, np.flatnonzero((day > last_day - LONG_WINDOW_DAYS) & (day <= last_day))


def _order_statistics(values: Floats, who: Integers, students: int) -> tuple[Integers, Floats, Floats]:
    """Number, median, and the median's standard error by order statistics (McKean and Schrader, 1984) of each learner.

    Args:
        values: sorted within a learner.
        who: learner of each, sorted.
        students: number of learners.
    """
    n = np.bincount(who, minlength=students)
    low = np.maximum(1, np.rint((n + 1) / 2 - Z95 * np.sqrt(n) / 2)).astype(np.int64)
    first = np.cumsum(n) - n
    padded = np.append(values, np.nan)

    def at(rank: Integers) -> Floats:
        """The value with the rank, from 1, within each learner."""
        return padded[np.where(n > 0, first + rank - 1, len(values))]

    return n, (at((n + 1) // 2) + at(n // 2 + 1)) / 2, (at(n - low + 1) - at(low)) / (2 * Z95)


def _milliseconds(microseconds: Integers) -> Integers:
    rounded: Integers = (microseconds + 500) // 1_000
    return rounded


def _stack(weeks: list[Columns]) -> Columns:
    return {name: np.stack([week[name] for week in weeks]) for name in weeks[0]}
