"""The week at a glance: headline numbers, and what did not run."""

from collections.abc import Sequence

from irt_analytics.report.bank import judged_items, review_items
from irt_analytics.report.document import Badge, Badges, Block, Card, Cards, Section
from irt_analytics.report.facts import MIN_MEAN_GROWTH, Facts, JobRun
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import NOTHING, Texts

#: The jobs a daily run holds before the report, in their order.
CHAIN = (
    "mirt_calibrate",
    "features_backfill",
    "compute_daily_kpis",
    "fit_glmm",
    "fit_survival_churn",
    "forecast_prophet",
    "fit_bayesian_growth",
    "cluster_segments",
)


def section(facts: Facts, texts: Texts, _studio: Studio) -> Section:
    """Return the opening section."""
    blocks: list[Block] = [
        Cards([_active(facts, texts), _growth(facts, texts), _flagged(facts, texts), _items(facts, texts)])
    ]
    badges = job_badges(facts, texts)
    if badges:
        blocks.insert(0, Badges(badges))
    return Section("summary", texts("summary.title"), blocks)


def job_badges(facts: Facts, texts: Texts) -> list[Badge]:
    """Return a badge for every job of the day that failed, was skipped, was lost or never ran, with its reason."""
    runs = {run.job: run for run in facts.job_runs}
    badges = []
    for job in dict.fromkeys((*CHAIN, *runs)):
        run = runs.get(job)
        status = run.status if run is not None else "absent"
        if status == "success":
            continue
        reason = (run.reason or run.error) if run is not None else None
        badges.append(
            Badge(
                level="note" if status == "skipped" else "act",
                word=texts(f"status.{status}"),
                text=texts(
                    "badge.text",
                    job=texts.known("jobs", job),
                    reason=texts.said(reason) if reason else texts(f"badge.no_reason.{status}"),
                ),
                action=texts(f"badge.action.{status}"),
            )
        )
    return badges


def in_order(job_runs: Sequence[JobRun]) -> list[JobRun]:
    """Return runs in the order of the daily chain, others first."""
    return sorted(job_runs, key=lambda run: CHAIN.index(run.job) if run.job in CHAIN else -1)


def _active(facts: Facts, texts: Texts) -> Card:
    weeks = {week.last_day: week for week in facts.activity}
    now = weeks.get(facts.as_of)
    before = next((week for day, week in weeks.items() if day < facts.as_of), None)
    note = (
        texts("cards.active.note", before=before.learners, answers=now.answers)
        if now is not None and before is not None
        else texts("cards.active.alone", answers=now.answers if now is not None else 0)
    )
    return Card(texts("cards.active.label"), texts.count(now.learners if now is not None else 0), note)


def _growth(facts: Facts, texts: Texts) -> Card:
    week = facts.growth(facts.week_start)
    if week is None or week.n < MIN_MEAN_GROWTH or week.m is None:
        return Card(texts("cards.growth.label"), NOTHING, texts("suppressed.group", minimum=MIN_MEAN_GROWTH))
    return Card(
        texts("cards.growth.label"),
        texts.number(week.m, signed=True),
        texts("cards.growth.note", count=week.n, growing=week.n_growing, declining=week.n_declining),
    )


def _flagged(facts: Facts, texts: Texts) -> Card:
    return Card(
        texts("cards.flagged.label"),
        texts.count(len(facts.flagged)),
        texts("cards.flagged.note", before=len(facts.flagged_before)),
    )


def _items(facts: Facts, texts: Texts) -> Card:
    return Card(
        texts("cards.items.label"),
        texts.count(len(review_items(facts.items))),
        texts("cards.items.note", count=len(judged_items(facts.items))),
    )
