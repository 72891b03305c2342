"""The KPIs once more, learner by learner in plain Python: what the arrays and the engine must agree with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

HALF_HOUR = timedelta(minutes=30)


@dataclass(frozen=True)
class BankItem:
    """Published parameters of an item (2PL) and its median time in milliseconds."""

    a: float
    b: float
    median_time_ms: float | None


Answer = Mapping[str, Any]


def answers_of(log: pd.DataFrame, learner: str, last_day: date) -> list[Answer]:
    """A learner's answers up to a day, in order."""
    rows = log[(log["student_id"] == learner) & (log["completed_at"].dt.date <= last_day)]
    records = rows.sort_values("completed_at", kind="stable").to_dict("records")
    return [{str(key): known(value) for key, value in record.items()} for record in records]


def known(value: Any) -> Any:
    return None if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)) else value


def is_evidence(answer: Answer, bank: Mapping[str, BankItem]) -> bool:
    """Whether an answer is neither timed out nor rapid."""
    if answer.get("timed_out"):
        return False
    item = bank.get(answer["item_id"])
    time = answer.get("response_time_ms")
    return not (item and item.median_time_ms and time is not None and time < 0.1 * item.median_time_ms)


def sessions_of(answers: list[Answer]) -> list[list[Answer]]:
    """Answers by session, in the order of the sessions' first answers."""
    by_session: dict[Any, list[Answer]] = {}
    stretch, last = 0, None
    for answer in answers:
        key: Any = answer.get("session_id")
        if key is None:
            begin = answer.get("started_at") or answer["completed_at"]
            if last is not None and begin - last > HALF_HOUR:
                stretch += 1
            key, last = stretch, answer["completed_at"]
        by_session.setdefault(key, []).append(answer)
    return sorted(by_session.values(), key=lambda session: session[0]["completed_at"])


def within(answers: list[Answer], first: date, last: date) -> list[Answer]:
    """Answers completed on a day from first to last."""
    return [answer for answer in answers if first <= answer["completed_at"].date() <= last]


def activity(answers: list[Answer], day: date) -> float:
    """A_t."""
    sessions = sessions_of(within(answers, day - timedelta(27), day))
    if not sessions:
        return 0.0
    starts = [session[0].get("started_at") or session[0]["completed_at"] for session in sessions]
    ends = [max(answer["completed_at"] for answer in session) for session in sessions]
    midnight = datetime.combine(day + timedelta(1), datetime.min.time(), ends[0].tzinfo)
    gaps = [(start - end) / timedelta(days=1) for end, start in zip(ends, [*starts[1:], midnight], strict=True)]
    terms = [(0.35, min(1, len(sessions) / 28)), (0.25, max(0, 1 - mean(max(0, gap) for gap in gaps) / 7))]
    hints = [answer["hints"] for session in sessions for answer in session if answer.get("hints") is not None]
    if hints:
        terms.append((0.20, max(0, 1 - mean(hints) / 3)))
    lengths = [
        (end - start).total_seconds()
        for session, start, end in zip(sessions, starts, ends, strict=True)
        if session[0].get("started_at") or len(session) > 1
    ]
    if lengths:
        terms.append((0.20, min(1, median(lengths) / 900)))
    return float(sum(weight * value for weight, value in terms) / sum(weight for weight, _ in terms))


def resolution(answers: list[Answer], day: date, bank: Mapping[str, BankItem]) -> tuple[int, int]:
    """Items answered wrong and tried in a later session, and those of them later answered right."""
    wrong_in: dict[str, int] = {}
    right_later: dict[str, bool] = {}
    for number, session in enumerate(sessions_of(within(answers, day - timedelta(27), day))):
        for answer in session:
            item = answer["item_id"]
            if is_evidence(answer, bank):
                if wrong_in.get(item, number) < number:
                    right_later[item] = right_later.get(item, False) or bool(answer["correct"])
                if not answer["correct"]:
                    wrong_in.setdefault(item, number)
    return len(right_later), sum(right_later.values())


def first_attempts(answers: list[Answer]) -> list[Answer]:
    """First answers to each item."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer["item_id"], answer)
    return list(first.values())


def efficiency(answers: list[Answer], day: date, bank: Mapping[str, BankItem]) -> tuple[float | None, int]:
    """E_t and the number of response times behind it."""
    medians, counts = [], []
    for last in (day, day - timedelta(28)):
        times = [
            math.log(answer["response_time_ms"] / item.median_time_ms)
            for answer in within(first_attempts(answers), last - timedelta(27), last)
            if answer["correct"]
            and answer.get("response_time_ms")
            and (item := bank.get(answer["item_id"]))
            and item.median_time_ms
            and is_evidence(answer, bank)
        ]
        counts.append(len(times))
        medians.append(median(times) if times else math.nan)
    value = max(-1.0, 1 - math.exp(medians[0] - medians[1])) if min(counts) >= 15 else None
    return value, sum(counts)


def growth(answers: list[Answer], day: date, bank: Mapping[str, BankItem]) -> tuple[float | None, int]:
    """Raw difference of theta (weighted likelihood) between the fortnights and the number of answers behind it."""
    thetas, counts = [], []
    for last in (day, day - timedelta(14)):
        scored = [
            (bank[answer["item_id"]], bool(answer["correct"]))
            for answer in within(first_attempts(answers), last - timedelta(13), last)
            if answer["item_id"] in bank and is_evidence(answer, bank)
        ]
        counts.append(len(scored))
        thetas.append(weighted_likelihood(scored) if scored else math.nan)
    return (thetas[0] - thetas[1] if min(counts) >= 5 else None), sum(counts)


def weighted_likelihood(scored: list[tuple[BankItem, bool]]) -> float:
    """Theta that maximises likelihood times the root of the information: for the 2PL, Warm's (1989) estimate."""
    a = np.array([item.a for item, _ in scored])
    b = np.array([item.b for item, _ in scored])
    right = np.array([correct for _, correct in scored])

    def loss(theta: float) -> float:
        z = a * (theta - b)
        log_p, log_q = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        information = (a**2 * np.exp(log_p + log_q)).sum()
        return float(-(np.where(right, log_p, log_q).sum() + 0.5 * np.log(information)))

    grid = np.linspace(-8, 8, 161)
    best = grid[np.argmin([loss(theta) for theta in grid])]
    return float(optimize.minimize_scalar(loss, bounds=(best - 0.2, best + 0.2), options={"xatol": 1e-10}).x)
