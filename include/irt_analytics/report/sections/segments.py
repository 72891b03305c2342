"""Groups of learners who work alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from irt_analytics.report.document import Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import MIN_GROUP, Facts, SegmentMeta
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import NOTHING, Texts


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the segments; without any it says why."""
    meta = next(iter(facts.segment_metas), None)
    if meta is None or meta.status != "success" or not facts.segment_sizes:
        run = next((run for run in facts.job_runs if run.job == "cluster_segments"), None)
        reason = (meta.reason if meta is not None else None) or (run and (run.reason or run.error))
        said = texts.said(reason) if reason else texts("badge.no_reason.absent")
        return Section("segments", texts("segments.title"), [Words(texts("segments.none", reason=said))])
    shown = [size for size in facts.segment_sizes if size.n >= MIN_GROUP]
    total = sum(size.n for size in facts.segment_sizes)
    blocks: list[Block] = [Words(texts("segments.lead", count=total), "lead")]
    groups = [(texts.known("segment_names", size.label), _centroid(meta, size.cluster)) for size in shown]
    if groups:
        largest = shown[0]
        blocks.append(
            Chart(
                texts(
                    "segments.message",
                    name=texts.known("segment_names", largest.label),
                    share=texts.percent(largest.n / total),
                ),
                texts("segments.alt", names=texts.listed([name for name, _ in groups])),
                studio.segments([texts.known("features", name) for name in meta.features["names"]], groups),
                texts("segments.note", count=total),
            )
        )
    blocks.append(_table(facts, meta, total, texts))
    blocks.append(Words(texts("segments.stability"), "small"))
    return Section("segments", texts("segments.title"), blocks)


def _centroid(meta: SegmentMeta, cluster: int) -> Sequence[float]:
    return [float(value) for value in _of_cluster(meta.centroids, cluster)]


def _of_cluster(values: Any, cluster: int) -> Any:
    """A cluster's entry of a list, or of an object keyed by the cluster's number."""
    return values[str(cluster)] if isinstance(values, Mapping) else values[cluster]


def _table(facts: Facts, meta: SegmentMeta, total: int, texts: Texts) -> Table:
    rows = []
    for size in facts.segment_sizes:
        name = texts.known("segment_names", size.label)
        advice = texts.known("segment_advice", size.label)
        if size.n < MIN_GROUP:
            rows.append([name, texts("format.under", limit=MIN_GROUP), NOTHING, NOTHING, advice])
            continue
        stability = float(_of_cluster(meta.jaccard, size.cluster)) if meta.jaccard is not None else None
        rows.append([name, texts.count(size.n), texts.percent(size.n / total), texts.number(stability), advice])
    columns = [
        Column(texts("segments.columns.segment"), "left", 22),
        Column(texts("segments.columns.n"), "right", 10),
        Column(texts("segments.columns.share"), "right", 8),
        Column(texts("segments.columns.stability"), "right", 10),
        Column(texts("segments.columns.advice"), "left", 50),
    ]
    return Table("segments", texts("segments.table"), columns, rows)
