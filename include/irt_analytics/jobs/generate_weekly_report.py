"""Renders the weekly report and puts it into the store.

The cohort's report and, by `learner_pages`, a page a learner, in HTML and PDF, with the numbers behind them as CSV:

    {REPORT_STORE_URL}/{tenant}/{as_of}/weekly-report.{lang}.html, .pdf
    {REPORT_STORE_URL}/{tenant}/{as_of}/learners/{learner}.{lang}.html, .pdf
    {REPORT_STORE_URL}/{tenant}/{as_of}/csv/{item_bank,item_quality,abilities,kpis}.csv

It is made whenever compute_daily_kpis has ended well; whatever else failed or was skipped is said in the report. The
files are in the store before the rows of report_artifacts are committed.
"""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from psycopg.rows import class_row

from irt_analytics import db
from irt_analytics.errors import RefusedError
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.progress import track
from irt_analytics.report import facts as records
from irt_analytics.report.cohort_report import cohort_document
from irt_analytics.report.engines import Engine, Format, PandocEngine, choose_engine, prepare_folder
from irt_analytics.report.facts import Facts, LearnerFacts, monday
from irt_analytics.report.figures import Studio
from irt_analytics.report.learner_page import learner_document
from irt_analytics.report.sections.learners import ERRORS_STAY_BELOW
from irt_analytics.report.sections.trend import MIN_ANSWERS
from irt_analytics.report.store import ReportStore, Stored, safe_name
from irt_analytics.report.template import to_qmd
from irt_analytics.report.texts import Texts, load_texts
from irt_analytics.runner import Job, JobContext

CSV_FILES = ("item_bank", "item_quality", "abilities", "kpis")
#: Learner pages rendered together: bounds what is in memory, and is enough to make a process's start cheap.
BATCH_LEARNERS = 200

logger = logging.getLogger(__name__)

Row = TypeVar("Row")


@dataclass(frozen=True)
class Artifact:
    """A file ready for the store: where it lies, its path in the day's folder, and its key in report_artifacts."""

    path: Path
    name: str
    scope: str
    subject_id: str
    format: str
    engine: str


def run(context: JobContext) -> None:
    """Make the day's report.

    Raises:
        ConfigurationError: REPORT_STORE_URL or REPORT_ENGINE does not work.
        RefusedError: compute_daily_kpis has not ended well for this day.
        TemporaryError: the store is full or away.
    """
    store = ReportStore(context.settings.report_store_url)
    engine = choose_engine(context.settings.report_engine)
    facts = load(context)
    with tempfile.TemporaryDirectory(prefix="irt-report-") as folder:
        artifacts = _render(context, facts, engine, Path(folder))
        context.record.wrote("report_artifacts", len(artifacts))
        if context.job_run_id is None:  # a dry run: the store's files are not undone by a roll-back
            return
        day = f"{safe_name(context.tenant)}/{context.as_of}"
        stored = store.put(day, [(artifact.path, artifact.name) for artifact in artifacts])
    replaced = _register(context, artifacts, stored)
    store.remove(sorted(replaced - {file.url for file in stored}))
    logger.info("report: %s", stored[0].url)


def load(context: JobContext) -> Facts:
    """Read what the cohort's report is made of, as of the run's day.

    Raises:
        RefusedError: compute_daily_kpis has not ended well for this day.
    """
    first_week = {"first_week": _first_week(context.as_of)}
    job_runs = _rows(context, "job_runs", records.JobRun)
    kpis = next((run.status for run in job_runs if run.job == "compute_daily_kpis"), "absent")
    if kpis not in {"success", "skipped"}:
        raise RefusedError(
            f"compute_daily_kpis of {context.as_of} (tenant {context.tenant!r}) is {kpis}: the report needs its KPIs; "
            "run it first"
        )
    flagging = {"errors_stay_below": ERRORS_STAY_BELOW}
    flagged = _rows(context, "flagged", records.Flagged, day=context.as_of, **flagging)
    last_sunday = monday(context.as_of) - timedelta(days=1)
    return Facts(
        tenant=context.tenant,
        as_of=context.as_of,
        job_runs=job_runs,
        fits=_rows(context, "fits", records.Fit),
        items=_rows(context, "items", records.Item),
        items_before=_rows(context, "items", records.Item, as_of=context.as_of - timedelta(days=7)),
        abilities=_rows(context, "abilities", records.Ability),
        theta_weeks=_rows(context, "theta_weeks", records.ThetaWeek, **first_week, min_answers=MIN_ANSWERS),
        kpi_weeks=_rows(context, "kpi_weeks", records.KpiWeek, **first_week),
        kpi_gaps=_rows(context, "kpi_gaps", records.KpiGap),
        growth_weeks=_rows(context, "growth_weeks", records.GrowthWeek, **first_week),
        activity=_rows(context, "activity", records.Activity),
        flagged=flagged,
        flagged_before=_rows(context, "flagged", records.Flagged, day=last_sunday, **flagging),
        segment_metas=_rows(context, "segment_metas", records.SegmentMeta),
        segment_sizes=_rows(context, "segment_sizes", records.SegmentSize),
        segment_moves=_rows(context, "segment_moves", records.SegmentMove),
        quality_metas=_rows(context, "quality_metas", records.QualityMeta),
        forecast_metas=_rows(context, "forecast_metas", records.ForecastMeta),
        forecast_weeks=_rows(context, "forecast_weeks", records.ForecastWeek),
        judged_weeks=_rows(context, "judged_weeks", records.JudgedWeek),
        churn_metas=_rows(context, "churn_metas", records.ChurnMeta),
        learners_at_risk=_rows(context, "learners_at_risk", records.AtRisk),
        growth_metas=_rows(context, "growth_metas", records.GrowthMeta),
        growth_tenths=_rows(context, "growth_tenths", records.GrowthTenth),
        goals_in_doubt=_rows(context, "goals_in_doubt", records.GoalInDoubt),
        topic_metas=_rows(context, "topic_metas", records.TopicMeta),
        pages={
            user_id: _page_name(user_id, context.params.report_lang, "html")
            for user_id in _page_learners(context, flagged)
        },
    )


def _first_week(as_of: date) -> date:
    return monday(as_of) - timedelta(weeks=HISTORY_WEEKS - 1)


def _rows(context: JobContext, name: str, record: type[Row], **params: Any) -> list[Row]:
    """Run a query of include/sql/report and return its rows as records of the columns' names."""
    with context.connection.cursor(row_factory=class_row(record)) as cursor:
        cursor.execute(db.sql(f"report/{name}"), {"tenant_id": context.tenant, "as_of": context.as_of} | params)
        found = cursor.fetchall()
    context.record.read(name, len(found))
    return found


def _render(context: JobContext, facts: Facts, engine: Engine, folder: Path) -> list[Artifact]:
    """Write every file of the report into a folder, the cohort's HTML first."""
    texts = load_texts(context.params.report_lang)
    prepare_folder(folder)
    source = folder / "weekly-report.qmd"
    source.write_text(to_qmd(cohort_document(facts, texts, Studio(folder, texts))), encoding="utf-8")
    cohort = engine.render(source)
    artifacts = [
        Artifact(path, f"weekly-report.{texts.lang}.{output}", "cohort", "", output, engine.describe(output))
        for output, path in cohort.items()
    ]
    artifacts += [_csv(context, name, folder) for name in CSV_FILES]
    return artifacts + _learner_pages(context, facts, texts, folder)


def _csv(context: JobContext, name: str, folder: Path) -> Artifact:
    path = folder / f"{name}.csv"
    params = {"tenant_id": context.tenant, "as_of": context.as_of}
    with (
        path.open("wb") as file,
        context.connection.cursor() as cursor,
        cursor.copy(db.sql(f"report/csv_{name}"), params) as copy,
    ):
        for block in copy:
            file.write(block)
    return Artifact(path, f"csv/{name}.csv", "cohort", "", f"csv:{name}", "postgresql")


def _learner_pages(context: JobContext, facts: Facts, texts: Texts, folder: Path) -> list[Artifact]:
    """Render the learners' pages in batches, by pandoc and Typst whichever engine the cohort's report has.

    Quarto would start several programs a page; pandoc converts a batch in one process.
    """
    reasons = {learner.user_id: tuple(learner.reasons) for learner in facts.flagged}
    user_ids = list(facts.pages)
    engine = PandocEngine()
    artifacts: list[Artifact] = []
    with track("learner pages", len(user_ids)) as tracker:
        for start in range(0, len(user_ids), BATCH_LEARNERS):
            learners = _load_learners(context, user_ids[start : start + BATCH_LEARNERS], reasons)
            sources = {}
            for number, learner in enumerate(learners, start):
                source = folder / f"learner-{number}.qmd"
                document = learner_document(facts, learner, source.stem, texts, Studio(folder, texts))
                source.write_text(to_qmd(document), encoding="utf-8")
                sources[source] = learner.profile.user_id
            for source, files in engine.render_batch(list(sources), tracker.advance).items():
                artifacts += [
                    _learner_artifact(sources[source], output, path, texts, engine) for output, path in files.items()
                ]
    return artifacts


def _learner_artifact(user_id: str, output: Format, path: Path, texts: Texts, engine: Engine) -> Artifact:
    return Artifact(path, _page_name(user_id, texts.lang, output), "learner", user_id, output, engine.describe(output))


def _page_name(user_id: str, lang: str, output: Format) -> str:
    return f"learners/{safe_name(user_id)}.{lang}.{output}"


def _page_learners(context: JobContext, flagged: Sequence[records.Flagged]) -> list[str]:
    if context.params.learner_pages == "none":
        return []
    if context.params.learner_pages == "flagged":
        return sorted(learner.user_id for learner in flagged)
    rows = context.connection.execute(db.sql("report/learner_ids"), _day(context)).fetchall()
    return [user_id for (user_id,) in rows]


def _load_learners(
    context: JobContext, user_ids: Sequence[str], reasons: dict[str, tuple[str, ...]]
) -> list[LearnerFacts]:
    asked = {"user_ids": list(user_ids)}
    weeks, topics = defaultdict(list), defaultdict(list)
    for week in _rows(context, "learner_weeks", records.LearnerWeek, **asked, first_week=_first_week(context.as_of)):
        weeks[week.user_id].append(week)
    for topic in _rows(context, "learner_topics", records.LearnerTopic, **asked):
        topics[topic.user_id].append(topic)
    return [
        LearnerFacts(profile, weeks[profile.user_id], topics[profile.user_id], reasons.get(profile.user_id, ()))
        for profile in _rows(context, "learner_profiles", records.LearnerProfile, **asked)
    ]


def _day(context: JobContext) -> dict[str, Any]:
    return {"tenant_id": context.tenant, "as_of": context.as_of}


def _register(context: JobContext, artifacts: Sequence[Artifact], stored: Sequence[Stored]) -> set[str]:
    """Replace the day's rows of report_artifacts in the report's language and return the URLs they had."""
    key = _day(context) | {"lang": context.params.report_lang}
    rows = context.connection.execute(db.sql("report/artifacts_of_day"), key).fetchall()
    frame = pd.DataFrame(
        [
            {
                "scope": artifact.scope,
                "subject_id": artifact.subject_id,
                "week_start": monday(context.as_of),
                "format": artifact.format,
                "url": file.url,
                "sha256": file.sha256,
                "bytes": file.size,
                "engine": artifact.engine,
                "job_run_id": context.job_run_id,
            }
            for artifact, file in zip(artifacts, stored, strict=True)
        ]
    )
    db.replace(context.connection, "report_artifacts", frame, **key)
    return {url for (url,) in rows}


JOB = Job(name="generate_weekly_report", run=run)
