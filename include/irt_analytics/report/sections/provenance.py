"""Where the numbers come from: the run, the calibration, and what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from irt_analytics.report.document import Block, Column, Section, Table
from irt_analytics.report.facts import Facts, Fit
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.sections.summary import in_order
from irt_analytics.report.texts import Texts


def section(facts: Facts, texts: Texts, _studio: Studio) -> Section:
    """Return the section of the run's provenance."""
    blocks: list[Block] = [_run(facts, texts)]
    fit = facts.fit("current")
    if fit is not None:
        blocks.append(_calibration(fit, texts))
    blocks.append(_jobs(facts, texts))
    left_out = _left_out(facts, texts)
    if left_out is not None:
        blocks.append(left_out)
    return Section("provenance", texts("provenance.title"), blocks)


def _pairs(name: str, title: str, rows: Sequence[tuple[str, str]], texts: Texts) -> Table:
    columns = [
        Column(texts("provenance.columns.what"), "left", 32),
        Column(texts("provenance.columns.value"), "left", 68),
    ]
    return Table(name, title, columns, [list(row) for row in rows])


def _run(facts: Facts, texts: Texts) -> Table:
    run = next((run for run in facts.job_runs if run.job == "compute_daily_kpis"), None)
    rows = [
        (texts("provenance.tenant"), visible(facts.tenant)),
        (texts("provenance.as_of"), texts.day(facts.as_of)),
        (texts("provenance.week"), texts.day(facts.week_start)),
    ]
    if run is not None:
        rows.append((texts("provenance.version"), visible(run.code_version)))
        rows.append((texts("provenance.parameters"), _parameters(run.parameters, texts)))
    return _pairs("run", texts("provenance.run"), rows, texts)


def _parameters(parameters: Mapping[str, Any], texts: Texts) -> str:
    return texts.listed(
        [f"{visible(name)} = {visible(str(value))}" for name, value in sorted(parameters.items()) if value is not None]
    )


def _calibration(fit: Fit, texts: Texts) -> Table:
    rows = [
        ("run_id", visible(fit.run_id)),
        (texts("provenance.calibrated"), texts.day(fit.as_of)),
        (texts("provenance.window"), texts("format.from_to", start=fit.window_start, end=fit.window_end)),
        *([(texts("provenance.window_reason"), texts.said(fit.window_reason))] if fit.window_reason else []),
        (texts("provenance.model"), f"{visible(fit.model)}, {visible(fit.engine)} {visible(fit.engine_version)}"),
        (texts("provenance.priors"), visible(fit.priors)),
        (
            texts("provenance.sizes"),
            texts("provenance.sizes_text", persons=fit.n_persons, items=fit.n_items, responses=fit.n_responses),
        ),
        (
            texts("provenance.convergence"),
            texts("provenance.converged" if fit.converged else "provenance.not_converged", count=fit.iterations),
        ),
        (
            texts("provenance.likelihood"),
            texts(
                "provenance.likelihood_text",
                log_likelihood=texts.number(fit.log_likelihood, 1),
                aic=texts.number(fit.aic, 1),
                bic=texts.number(fit.bic, 1),
            ),
        ),
        (
            texts("provenance.latent"),
            texts(
                "provenance.latent_text",
                mean=texts.number(fit.latent_mean, signed=True),
                sd=texts.number(fit.latent_sd),
            ),
        ),
        (texts("provenance.se_method"), texts.known("se_methods", fit.se_method or "none")),
        (texts("provenance.fingerprint"), visible(fit.data_fingerprint)),
    ]
    return _pairs("calibration", texts("provenance.calibration"), rows, texts)


def _jobs(facts: Facts, texts: Texts) -> Table:
    rows = [
        [texts.known("jobs", run.job), texts.known("status", run.status), texts.said(run.reason or run.error or "")]
        for run in in_order(facts.job_runs)
    ]
    columns = [
        Column(texts("provenance.columns.job"), "left", 32),
        Column(texts("provenance.columns.status"), "left", 16),
        Column(texts("provenance.columns.reason"), "left", 52),
    ]
    return Table("jobs", texts("provenance.jobs"), columns, rows)


def _left_out(facts: Facts, texts: Texts) -> Table | None:
    rows = [
        [
            texts.known("jobs", run.job),
            _detailed(str(entry["reason"]), str(entry.get("detail") or ""), texts),
            texts.count(int(entry["count"])),
        ]
        for run in in_order(facts.job_runs)
        for entry in run.exclusions
    ]
    if not rows:
        return None
    columns = [
        Column(texts("provenance.columns.job"), "left", 28),
        Column(texts("provenance.columns.what"), "left", 58),
        Column(texts("provenance.columns.count"), "right", 14),
    ]
    return Table("left_out", texts("provenance.left_out"), columns, rows)


def _detailed(reason: str, detail: str, texts: Texts) -> str:
    if not detail:
        return texts.said(reason)
    return texts("provenance.detailed", reason=texts.said(reason), detail=texts.said(detail))
