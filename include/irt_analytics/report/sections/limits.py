"""What this log cannot tell, said instead of guessed."""

from irt_analytics.report.document import Badge, Badges, Block, Column, Section, Table, Words
from irt_analytics.report.facts import Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import Texts

#: Weeks of answers under which a trend is not worth much.
FEW_WEEKS = 8


def section(facts: Facts, texts: Texts, _studio: Studio) -> Section:
    """Return the section of what is not known and why."""
    badges = [Badge("note", texts("level.note"), text) for text in _limits(facts, texts)]
    blocks: list[Block] = [Badges(badges)] if badges else []
    gaps = [gap for gap in facts.kpi_gaps if gap.kpi != "a_t_dropped"]
    if gaps:
        rows = [[texts(f"kpi.{gap.kpi}.name"), texts.said(gap.reason), texts.count(gap.n)] for gap in gaps]
        columns = [
            Column(texts("limits.columns.kpi"), "left", 22),
            Column(texts("limits.columns.reason"), "left", 62),
            Column(texts("limits.columns.n"), "right", 16),
        ]
        blocks.append(Table("gaps", texts("limits.table"), columns, rows))
    return Section("limits", texts("limits.title"), blocks or [Words(texts("limits.none"))])


def _limits(facts: Facts, texts: Texts) -> list[str]:
    found = [
        texts(
            "limits.dropped",
            term=texts.known("activity_terms", gap.reason),
            count=gap.n,
        )
        for gap in facts.kpi_gaps
        if gap.kpi == "a_t_dropped"
    ]
    for kpi in ("i_t", "e_t", "r_t"):
        row = facts.kpi(kpi)
        if row is not None and row.n == 0 and row.n_learners:
            found.append(texts(f"limits.no_{kpi}"))
    by_accuracy = facts.kpi("i_t_accuracy")
    if by_accuracy is not None and by_accuracy.n:
        found.append(texts("limits.accuracy", count=by_accuracy.n))
    weeks = len({row.week_start for row in facts.kpi_weeks})
    if weeks < FEW_WEEKS:
        found.append(texts("limits.weeks", count=weeks))
    return found
