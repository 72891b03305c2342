"""The four learner KPIs over the cohort."""

from datetime import timedelta

from irt_analytics.report.document import Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import MIN_GROUP, Facts, KpiWeek
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import NOTHING, Texts

KPIS = ("i_t", "i_t_accuracy", "a_t", "e_t", "r_t")
SIGNED = frozenset({"i_t", "i_t_accuracy", "e_t"})
#: Weeks that make a trend worth drawing.
MIN_WEEKS = 3
#: A median that moved by this share of the middle half's width is worth the title; the width counts at least as much
#: as the second number, for learners who hardly differ are no measure.
NOTABLE_MOVE, LEAST_WIDTH = 0.1, 0.1


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the KPIs."""
    now = [row for kpi in KPIS if (row := facts.kpi(kpi)) is not None and (row.n or kpi != "i_t_accuracy")]
    if not now:
        return Section("kpis", texts("kpis.title"), [Words(texts("kpis.none"))])
    blocks: list[Block] = [Words(texts("kpis.lead"), "lead")]
    series = [(row.kpi, weeks) for row in now if len(weeks := _weeks(facts, row.kpi)) >= MIN_WEEKS]
    if series:
        blocks.append(
            Chart(
                _message(facts, now, texts),
                texts("kpis.alt", names=texts.listed([texts(f"kpi.{kpi}.name") for kpi, _ in series])),
                studio.kpi_trends(series),
                texts("kpis.note", minimum=MIN_GROUP),
            )
        )
    blocks.append(_table(facts, now, texts))
    blocks.append(Words(texts("kpis.reading"), "small"))
    return Section("kpis", texts("kpis.title"), blocks)


def _weeks(facts: Facts, kpi: str) -> list[KpiWeek]:
    return [row for row in facts.kpi_weeks if row.kpi == kpi and row.n >= MIN_GROUP]


def _before(facts: Facts, kpi: str) -> KpiWeek | None:
    row = facts.kpi(kpi, facts.week_start - timedelta(weeks=1))
    return row if row is not None and row.n >= MIN_GROUP else None


def _move(facts: Facts, row: KpiWeek) -> float | None:
    before = _before(facts, row.kpi)
    if row.n < MIN_GROUP or before is None or row.median is None or before.median is None:
        return None
    return row.median - before.median


def _message(facts: Facts, now: list[KpiWeek], texts: Texts) -> str:
    """Title the figure by the KPI that moved most against how much learners differ in it."""
    moves = []
    for row in now:
        move = _move(facts, row)
        if move is not None and row.p75 is not None and row.p25 is not None:
            moves.append((abs(move) / max(row.p75 - row.p25, LEAST_WIDTH), move, row))
    if not moves:
        return texts("kpis.message.alone")
    size, move, row = max(moves, key=lambda entry: entry[0])
    if size < NOTABLE_MOVE:
        return texts("kpis.message.steady")
    return texts(
        f"kpis.message.{'rose' if move > 0 else 'fell'}",
        name=texts(f"kpi.{row.kpi}.name"),
        move=texts.number(abs(move)),
        median=texts.number(row.median, signed=row.kpi in SIGNED),
    )


def _table(facts: Facts, now: list[KpiWeek], texts: Texts) -> Table:
    columns = [
        Column(texts("kpis.columns.kpi"), "left", 34),
        Column(texts("kpis.columns.n"), "right", 14),
        Column(texts("kpis.columns.median"), "right", 12),
        Column(texts("kpis.columns.half"), "right", 22),
        Column(texts("kpis.columns.change"), "right", 18),
    ]
    return Table("kpis", texts("kpis.table", minimum=MIN_GROUP), columns, [_row(facts, row, texts) for row in now])


def _row(facts: Facts, row: KpiWeek, texts: Texts) -> list[str]:
    signed = row.kpi in SIGNED
    shown = row.n >= MIN_GROUP
    return [
        texts(f"kpi.{row.kpi}.label"),
        texts("format.n_of", n=row.n, of=row.n_learners),
        texts.number(row.median, signed=signed) if shown else NOTHING,
        texts.interval(row.p25, row.p75, signed=signed) if shown else NOTHING,
        texts.number(_move(facts, row), signed=True),
    ]
