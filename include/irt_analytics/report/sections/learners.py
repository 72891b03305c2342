"""Learners to look at, and why."""

from irt_analytics.report.document import Block, Column, Section, Table, Words
from irt_analytics.report.facts import Facts, Flagged
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import linked, visible
from irt_analytics.report.texts import NOTHING, Texts

#: R_t whose whole interval lies below this: of the errors tried again, fewer than half were mended.
ERRORS_STAY_BELOW = 0.5
#: Learners listed; the others are counted, and have pages of their own.
LISTED = 25


def section(facts: Facts, texts: Texts, _studio: Studio) -> Section:
    """Return the section of learners to look at."""
    if not facts.flagged:
        return Section("learners", texts("learners.title"), [Words(texts("learners.none"))])
    before = {learner.user_id for learner in facts.flagged_before}
    rows = [
        _row(learner, facts.pages.get(learner.user_id), texts, new=learner.user_id not in before)
        for learner in facts.flagged[:LISTED]
    ]
    rest = len(facts.flagged) - len(rows)
    blocks: list[Block] = [
        Words(texts("learners.lead", count=len(facts.flagged)), "lead"),
        Table(
            "learners",
            texts("learners.table", shown=len(rows), count=len(facts.flagged)),
            [
                Column(texts("learners.learner"), "left", 20),
                Column(texts("learners.ability"), "right", 9),
                Column(texts("learners.last_day"), "left", 13),
                Column(texts("learners.why"), "left", 58),
            ],
            rows,
            texts("learners.rest", count=rest) if rest else "",
        ),
        Words(texts("learners.rules", limit=texts.percent(ERRORS_STAY_BELOW)), "small"),
    ]
    return Section("learners", texts("learners.title"), blocks)


def _row(learner: Flagged, page: str | None, texts: Texts, *, new: bool) -> list[str]:
    name = visible(learner.user_id)
    shown = texts("learners.new", name=name) if new else name
    return [
        linked(shown, page) if page is not None else shown,
        texts.number(learner.theta, signed=True),
        texts.short_day(learner.last_day) if learner.last_day is not None else NOTHING,
        texts("format.sentence").join(reason_text(learner, reason, texts) for reason in learner.reasons),
    ]


def reason_text(learner: Flagged, reason: str, texts: Texts) -> str:
    """Say why a learner is flagged, with the numbers."""
    values = {
        "i_t": texts.number(learner.i_t, signed=True),
        "interval": texts.interval(learner.i_t_lower, learner.i_t_upper, signed=True),
        "r_t": texts.percent(learner.r_t),
        "r_t_n": learner.r_t_n,
    }
    return texts(f"flags.{reason}.text", **values)
