"""Ability of the cohort week by week."""

import math

from irt_analytics.report.document import Block, Chart, Section, Words
from irt_analytics.report.facts import MIN_GROUP, Facts, ThetaWeek
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import Texts

#: First attempts in a week that make a learner count for it.
MIN_ANSWERS = 5


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the ability trend."""
    weeks = [week for week in facts.theta_weeks if week.n_learners >= MIN_GROUP]
    if not weeks:
        text = texts("trend.none", minimum=MIN_GROUP, answers=MIN_ANSWERS)
        return Section("trend", texts("trend.title"), [Words(text)])
    first, last = weeks[0], weeks[-1]
    chart = Chart(
        _message(first, last, texts),
        texts(
            "trend.alt",
            first=first.week_start,
            first_mean=texts.number(first.mean, signed=True),
            last=last.week_start,
            last_mean=texts.number(last.mean, signed=True),
        ),
        studio.theta_trend(weeks),
        texts("trend.note", answers=MIN_ANSWERS, minimum=MIN_GROUP),
    )
    blocks: list[Block] = [Words(texts("trend.lead"), "lead"), chart]
    return Section("trend", texts("trend.title"), blocks)


def _message(first: ThetaWeek, last: ThetaWeek, texts: Texts) -> str:
    if first is last:
        return texts("trend.message.single", mean=texts.number(last.mean, signed=True), count=last.n_learners)
    change = last.mean - first.mean
    clear = abs(change) > 1.96 * math.hypot(first.se, last.se)
    direction = ("rose" if change > 0 else "fell") if clear else "steady"
    return texts(
        f"trend.message.{direction}",
        change=texts.number(abs(change)),
        first=first.week_start,
        last_mean=texts.number(last.mean, signed=True),
    )
