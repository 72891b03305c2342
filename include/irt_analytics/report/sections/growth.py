"""How fast learners grow, and who is likely to reach the goal."""

from collections.abc import Mapping, Sequence
from typing import Any

from irt_analytics.report.document import Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import MIN_GROUP, Facts, GoalInDoubt, GrowthMeta
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import linked, visible
from irt_analytics.report.texts import Texts

#: Learners listed; the others are counted.
LISTED = 25
TENTHS = 10
KINDS = ("goal", "slope")


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of growth and goals; without a growth model it says why."""
    title = texts("growth.title")
    meta = next(iter(facts.growth_metas), None)
    if meta is None or meta.status != "success":
        run = next((run for run in facts.job_runs if run.job == "fit_bayesian_growth"), None)
        reason = (meta.reason if meta is not None else None) or (run and (run.reason or run.error))
        said = texts.said(reason) if reason else texts("badge.no_reason.absent")
        return Section("growth", title, [Words(texts("growth.none", reason=said))])
    blocks: list[Block] = [Words(_lead(meta, texts), "lead")]
    counts = {kind: _counts(facts, kind) for kind in KINDS}
    shown = {kind: tenths for kind, tenths in counts.items() if sum(tenths) >= MIN_GROUP}
    if shown:
        blocks.append(_chart(shown, texts, studio))
    if facts.goals_in_doubt:
        blocks.append(_table(facts, facts.goals_in_doubt, texts))
    method = texts(
        "growth.method",
        learners=meta.n_learners_fit,
        scored=meta.n_learners_scored,
        draws=int(meta.draws or 0),
        rhat=texts.number(meta.max_rhat, 3),
        divergences=int(meta.divergences or 0),
    )
    blocks.append(Words(method, "small"))
    return Section("growth", title, blocks)


def _lead(meta: GrowthMeta, texts: Texts) -> str:
    slope, spread = (_parameter(meta, term) for term in ("slope", "sd_slope"))
    return texts(
        "growth.lead",
        weeks=meta.weeks,
        slope=texts.number(slope["mean"], 3, signed=True),
        interval=texts.interval(slope["lower"], slope["upper"], 3, signed=True),
        spread=texts.number(spread["mean"], 3),
    )


def _parameter(meta: GrowthMeta, term: str) -> Mapping[str, Any]:
    """A parameter of the population, given all learners where a sample was fitted."""
    updated = (meta.sample or {}).get("updated") or {}
    population: Sequence[Mapping[str, Any]] = updated.get("population") or meta.population or ()
    return next(row for row in population if row["term"] == term)


def _counts(facts: Facts, kind: str) -> list[int]:
    of = {row.tenth: row.n for row in facts.growth_tenths if row.kind == kind}
    return [of.get(tenth, 0) for tenth in range(TENTHS)]


def _chart(shown: Mapping[str, Sequence[int]], texts: Texts, studio: Studio) -> Chart:
    kind, tenths = next(iter(shown.items()))
    learners = sum(tenths)
    likely = sum(tenths[TENTHS // 2 :])
    return Chart(
        texts(f"growth.message.{kind}", share=texts.percent(likely / learners), learners=learners),
        texts("growth.alt", what=texts.listed([texts(f"growth.kind.{name}") for name in shown])),
        studio.probabilities([(texts(f"growth.kind.{name}"), counts) for name, counts in shown.items()]),
        texts("growth.note"),
    )


def _table(facts: Facts, doubtful: Sequence[GoalInDoubt], texts: Texts) -> Table:
    rows = []
    for learner in doubtful[:LISTED]:
        name, page = visible(learner.user_id), facts.pages.get(learner.user_id)
        rows.append(
            [
                linked(name, page) if page is not None else name,
                texts.percent(learner.p),
                texts.number(learner.theta_now, signed=True),
                texts.interval(learner.theta_now_lower, learner.theta_now_upper, signed=True),
                texts.number(learner.target_theta, signed=True),
                texts.short_day(learner.target_date),
            ]
        )
    rest = len(doubtful) - len(rows)
    columns = [
        Column(texts("growth.columns.learner"), "left", 30),
        Column(texts("growth.columns.p"), "right", 14),
        Column(texts("growth.columns.now"), "right", 12),
        Column(texts("growth.columns.interval"), "right", 20),
        Column(texts("growth.columns.target"), "right", 10),
        Column(texts("growth.columns.date"), "left", 14),
    ]
    title = texts("growth.table", shown=len(rows), count=len(doubtful))
    return Table("goals", title, columns, rows, texts("growth.rest", count=rest) if rest else "")
