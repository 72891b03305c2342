"""Learners who are likely to stay away, and how good such forecasts were."""

from collections.abc import Sequence

from irt_analytics.report.document import Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import AtRisk, ChurnMeta, Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import linked, visible
from irt_analytics.report.texts import Texts

#: Learners listed; the others are counted.
LISTED = 25


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of learners at risk; without a churn model it says why."""
    title = texts("risk.title")
    meta = next(iter(facts.churn_metas), None)
    if meta is None or meta.status != "success":
        run = next((run for run in facts.job_runs if run.job == "fit_survival_churn"), None)
        reason = (meta.reason if meta is not None else None) or (run and (run.reason or run.error))
        said = texts.said(reason) if reason else texts("badge.no_reason.absent")
        return Section("risk", title, [Words(texts("risk.none", reason=said))])
    at_risk = facts.learners_at_risk
    lead = texts("risk.lead", count=len(at_risk), scored=meta.n_scored, days=meta.horizon_days)
    blocks: list[Block] = [Words(lead, "lead")]
    if at_risk:
        blocks.append(_table(facts, at_risk, texts))
    blocks += _judged(meta, texts, studio)
    blocks.append(Words(texts("risk.method", days=meta.horizon_days), "small"))
    return Section("risk", title, blocks)


def _table(facts: Facts, at_risk: Sequence[AtRisk], texts: Texts) -> Table:
    rows = []
    for learner in at_risk[:LISTED]:
        name, page = visible(learner.user_id), facts.pages.get(learner.user_id)
        rows.append(
            [
                linked(name, page) if page is not None else name,
                texts.percent(learner.risk),
                texts(
                    "format.interval", lower=texts.percent(learner.risk_lower), upper=texts.percent(learner.risk_upper)
                ),
                texts.short_day(learner.last_active),
                texts.count(learner.n_answers),
            ]
        )
    rest = len(at_risk) - len(rows)
    columns = [
        Column(texts("risk.columns.learner"), "left", 34),
        Column(texts("risk.columns.risk"), "right", 12),
        Column(texts("risk.columns.interval"), "right", 20),
        Column(texts("risk.columns.last_day"), "left", 18),
        Column(texts("risk.columns.answers"), "right", 16),
    ]
    title = texts("risk.table", shown=len(rows), count=len(at_risk))
    return Table("risk", title, columns, rows, texts("risk.rest", count=rest) if rest else "")


def _judged(meta: ChurnMeta, texts: Texts, studio: Studio) -> list[Block]:
    """How the forecasts of held-out days turned out."""
    evaluation = meta.evaluation or {}
    groups = evaluation.get("calibration")
    if evaluation.get("auc") is None or not groups:
        reason = evaluation.get("reason")
        return [
            Words(texts("risk.not_judged", reason=texts.said(reason) if reason else texts("badge.no_reason.absent")))
        ]
    slope = texts.number(evaluation["calibration_slope"])
    slope_interval = texts.interval(evaluation["calibration_slope_lower"], evaluation["calibration_slope_upper"])
    chart = Chart(
        texts("risk.message", percent=texts.percent(evaluation["auc"])),
        texts("risk.alt", groups=len(groups), slope=slope),
        studio.calibration(groups),
        texts(
            "risk.note",
            rows=int(evaluation["n_test"]),
            absences=int(evaluation["n_test_events"]),
            auc=texts.number(evaluation["auc"]),
            auc_interval=texts.interval(evaluation["auc_lower"], evaluation["auc_upper"]),
            slope=slope,
            slope_interval=slope_interval,
        ),
    )
    return [chart]
