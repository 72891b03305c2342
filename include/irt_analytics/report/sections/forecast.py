"""Where ability and growth are heading, and weeks that stood out."""

from datetime import timedelta

from irt_analytics.report.document import Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import Facts, ForecastWeek, JudgedWeek
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import NOTHING, Texts

#: Series of the figure; the others are in the table.
DRAWN = "cohort"
METRICS = ("theta", "i_t")
#: Anomalies listed, the newest.
LISTED = 12


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the forecast; without one it says why."""
    title = texts("forecast.title")
    meta = next(iter(facts.forecast_metas), None)
    if meta is None or meta.status != "success":
        run = next((run for run in facts.job_runs if run.job == "forecast_prophet"), None)
        reason = (meta.reason if meta is not None else None) or (run and (run.reason or run.error))
        said = texts.said(reason) if reason else texts("badge.no_reason.absent")
        return Section("forecast", title, [Words(texts("forecast.none", reason=said))])
    blocks: list[Block] = [Words(texts("forecast.lead"), "lead")]
    panels = [panel for panel in (_of(facts, DRAWN, metric) for metric in METRICS) if panel[1]]
    if panels:
        blocks.append(_chart(panels, meta.threshold, texts, studio))
    blocks += [_outlook(facts, texts), *_anomalies(facts, texts), Words(texts("forecast.method"), "small")]
    return Section("forecast", title, blocks)


def _of(facts: Facts, series: str, metric: str) -> tuple[list[JudgedWeek], list[ForecastWeek]]:
    key = (series, metric)
    return (
        [week for week in facts.judged_weeks if (week.series, week.metric) == key],
        [week for week in facts.forecast_weeks if (week.series, week.metric) == key],
    )


def _chart(
    panels: list[tuple[list[JudgedWeek], list[ForecastWeek]]], threshold: float, texts: Texts, studio: Studio
) -> Chart:
    past, ahead = panels[0]
    last = ahead[-1]
    values = {
        "metric": texts(f"forecast.metric.{last.metric}"),
        "week": last.week_start,
        "forecast": texts.number(last.forecast, signed=True),
        "interval": texts.interval(last.lower, last.upper, signed=True),
        "level": texts.percent(last.level),
    }
    found = sum(week.anomaly for judged, _ in panels for week in judged)
    return Chart(
        texts("forecast.message", **values),
        texts("forecast.alt", weeks=len(past), count=found, **values),
        studio.forecast(
            [(texts(f"forecast.metric.{weeks[0].metric}"), judged, weeks) for judged, weeks in panels], threshold
        ),
        texts("forecast.note", level=texts.percent(last.level), sds=texts.number(threshold, 1)),
    )


def _outlook(facts: Facts, texts: Texts) -> Table:
    """Each series' value of the week before the forecast, where it has one, and its last week forecast."""
    rows = []
    for series, metric in dict.fromkeys((week.series, week.metric) for week in facts.forecast_weeks):
        past, ahead = _of(facts, series, metric)
        last = ahead[-1]
        week_before = ahead[0].week_start - timedelta(weeks=1)
        now = next((week.observed for week in past if week.week_start == week_before), None)
        rows.append(
            [
                _name(series, texts),
                texts(f"forecast.metric.{metric}"),
                texts.number(now, signed=True),
                texts.number(last.forecast, signed=True),
                texts.interval(last.lower, last.upper, signed=True),
            ]
        )
    columns = [
        Column(texts("forecast.columns.series"), "left", 26),
        Column(texts("forecast.columns.metric"), "left", 24),
        Column(texts("forecast.columns.now"), "right", 14),
        Column(texts("forecast.columns.forecast"), "right", 16),
        Column(texts("forecast.columns.interval"), "right", 20),
    ]
    week = max(week.week_start for week in facts.forecast_weeks)
    return Table("forecast", texts("forecast.table", week=week), columns, rows)


def _anomalies(facts: Facts, texts: Texts) -> list[Block]:
    found = sorted(
        (week for week in facts.judged_weeks if week.anomaly),
        key=lambda week: (-week.week_start.toordinal(), week.series != DRAWN, week.series, week.metric),
    )
    judged = sum(week.z is not None for week in facts.judged_weeks)
    if not found:
        return [Words(texts("forecast.no_anomaly", count=judged))]
    rows = [
        [
            texts.day(week.week_start),
            _name(week.series, texts),
            texts(f"forecast.metric.{week.metric}"),
            texts.number(week.observed, signed=True),
            texts.number(week.expected, signed=True) if week.expected is not None else NOTHING,
            texts.number(week.z, 1, signed=True),
            texts.count(week.n_learners),
        ]
        for week in found[:LISTED]
    ]
    names = (("week", 18), ("series", 20), ("metric", 18), ("observed", 11), ("expected", 11), ("z", 10), ("n", 12))
    columns = [
        Column(texts(f"forecast.anomalies.{name}"), "left" if name in {"week", "series", "metric"} else "right", width)
        for name, width in names
    ]
    rest = len(found) - len(rows)
    title = texts("forecast.anomalies.title", count=len(found), judged=judged)
    note = texts("forecast.anomalies.rest", count=rest) if rest else ""
    return [Table("anomalies", title, columns, rows, note), Words(texts("forecast.anomalies.advice"))]


def _name(series: str, texts: Texts) -> str:
    return texts("forecast.cohort") if series == DRAWN else texts.known("segment_names", series)
