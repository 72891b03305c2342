"""The weekly report on a database: every number is the tables' own, in every language, format and engine."""

import csv
import dataclasses
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import numpy as np
import pandas as pd
import psycopg
import pytest
from psycopg import sql
from pypdf import PdfReader
from tests.databases import database_of, settings_of
from tests.unit.report.cohort import AS_OF, HOSTILE_IDS, MONDAY, write_cohort
from tests.unit.report.page import Page, numbers

from irt_analytics import db
from irt_analytics.jobs.generate_weekly_report import JOB
from irt_analytics.params import RunParams
from irt_analytics.report.markup import visible
from irt_analytics.report.store import safe_name
from irt_analytics.runner import run_job

SHARED_QUARTO = Path(__file__).parents[2].parent / "shared" / "quarto" / "install"
DAY = f"default/{AS_OF}"


@dataclass(frozen=True)
class Report:
    """A report in a local store."""

    url: str
    store: Path
    lang: str = "en"

    @property
    def folder(self) -> Path:
        return self.store / DAY

    @property
    def page(self) -> Page:
        return Page.read(self.folder / f"weekly-report.{self.lang}.html")

    @property
    def pdf(self) -> str:
        pages = PdfReader(self.folder / f"weekly-report.{self.lang}.pdf").pages
        return " ".join(page.extract_text() for page in pages)


def make(
    url: str,
    store: Path | str,
    *,
    lang: str = "en",
    engine: str = "pandoc",
    pages: str = "none",
    tenant: str = "default",
    as_of: date = AS_OF,
    dry_run: bool = False,
) -> int:
    settings = settings_of(url, report_store_url=str(store), report_engine=engine)
    params = RunParams.model_validate({"report_lang": lang, "learner_pages": pages})
    return run_job(JOB, tenant=tenant, as_of=as_of, params=params, settings=settings, dry_run=dry_run)


@pytest.fixture(scope="module")
def cohorts(postgres_url: str, template_database: str) -> Iterator[Callable[..., str]]:
    """Makes databases with a cohort each; the same cohort is made once."""
    made: dict[str, str] = {}

    def cohort(name: str, **shape: Any) -> str:
        if name not in made:
            database = f"report_{name}"
            with psycopg.connect(postgres_url, autocommit=True) as server:
                statement = sql.SQL("create database {} template {}")
                server.execute(statement.format(sql.Identifier(database), sql.Identifier(template_database)))
            made[name] = database_of(postgres_url, database)
            with db.connect(settings_of(made[name])) as connection:
                write_cohort(connection, **shape)
                connection.commit()
        return made[name]

    yield cohort
    with psycopg.connect(postgres_url, autocommit=True) as server:
        for name in made:
            server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(f"report_{name}")))


@pytest.fixture(scope="module")
def report(cohorts: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """An ordinary cohort's report in English, with pages of all learners."""
    made = Report(cohorts("ordinary", learners=50), tmp_path_factory.mktemp("store"))
    assert make(made.url, made.store, pages="all") == 0
    return made


def query(url: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement, params).fetchall()


def frame(url: str, statement: str, *params: Any) -> pd.DataFrame:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement, params)
        assert cursor.description is not None
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def written(value: float | None, decimals: int = 2, *, signed: bool = False) -> str:
    """A number as a reader expects it."""
    if value is None or np.isnan(value):
        return "–"
    text = f"{value:{'+' if signed else ''},.{decimals}f}"
    text = text.lstrip("+-") if not text.strip("+-0.,") else text
    return text.replace("-", "−")


def span(low: float, high: float, *, signed: bool = False) -> str:
    return f"{written(low, signed=signed)} to {written(high, signed=signed)}"


# --- numbers -----------------------------------------------------------------------------------------------------


def test_every_table_of_the_report_is_checked_here(report: Report) -> None:
    """A new table could show numbers that no test compares with the database."""
    assert set(report.page.tables) == {
        "learners",
        "kpis",
        "segments",
        "items",
        "link",
        "drifted",
        "gaps",
        "run",
        "calibration",
        "jobs",
        "left_out",
    }


def test_kpi_table_equals_the_kpis(report: Report) -> None:
    """A teacher would act on medians that nobody computed."""
    rows = frame(
        report.url,
        "select week_start, i_t, a_t, e_t, r_t from weekly_kpi where week_start >= %s",
        MONDAY - timedelta(weeks=1),
    )
    now, before = (rows[rows["week_start"] == day] for day in (MONDAY, MONDAY - timedelta(weeks=1)))
    shown = report.page.tables["kpis"][1:]
    assert [row[0].split()[0] for row in shown] == ["Growth", "Activity", "Efficiency", "Resolution"]
    for row, name in zip(shown, ("i_t", "a_t", "e_t", "r_t"), strict=True):
        values, earlier = (part[name].dropna().astype(float) for part in (now, before))
        low, median, high = np.percentile(values, [25, 50, 75])
        signed = name in {"i_t", "e_t"}
        assert row[1:] == [
            f"{len(values)} of {len(now)}",
            written(median, signed=signed),
            span(low, high, signed=signed),
            written(median - np.median(earlier), signed=True),
        ]


def test_headline_numbers_equal_the_tables(report: Report) -> None:
    """The first four numbers are what most readers read."""
    active, before, answers = query(
        report.url,
        """
        select
            count(distinct user_id) filter (where date > %(day)s - 7),
            count(distinct user_id) filter (where date <= %(day)s - 7 and date > %(day)s - 14),
            sum(attempts) filter (where date > %(day)s - 7)
        from features_topic_daily
        """.replace("%(day)s", f"date '{AS_OF}'"),
    )[0]
    measured, mean, growing, declining = query(
        report.url,
        """
        select count(i_t), max(i_t_m), count(*) filter (where i_t_lower > 0), count(*) filter (where i_t_upper < 0)
        from weekly_kpi where week_start = %s
        """,
        MONDAY,
    )[0]
    text = report.page.text
    assert f"Active learners, last 7 days {active} {before} in the 7 days before · {answers:,} answers" in text
    assert (
        f"Mean growth in a fortnight (θ) {written(mean, signed=True)} {measured} learners measured · "
        f"{growing} clearly up, {declining} clearly down"
    ) in text
    assert f"Learners to look at {len(flagged(report.url, MONDAY, AS_OF))} " in text
    assert f"Items to review {len(report.page.tables['items']) - 1} of 27 items with enough answers" in text


def flagged(url: str, week: date, day: date) -> dict[str, set[str]]:
    """Learners to look at by the words of the report's own rule, in plain Python."""
    kpis = frame(url, "select user_id, i_t_upper, r_t_upper from weekly_kpi where week_start = %s", week)
    days = frame(url, "select user_id, max(date) as last from features_topic_daily where date <= %s group by 1", day)
    last = dict(zip(days["user_id"], days["last"], strict=True))
    found: dict[str, set[str]] = {}
    for user, i_upper, r_upper in kpis.itertuples(index=False):
        reasons = set()
        if i_upper is not None and i_upper < 0:
            reasons.add("Ability fell")
        if user in last and day - timedelta(days=28) < last[user] <= day - timedelta(days=14):
            reasons.add("No answer")
        if r_upper is not None and r_upper < 0.5:
            reasons.add("Errors stay")
        if reasons:
            found[user] = reasons
    return found


def test_learners_to_look_at_are_those_the_rule_names(report: Report) -> None:
    """A learner who needs help would be missed, or one who does not be called in."""
    expected, before = (
        flagged(report.url, MONDAY, AS_OF),
        flagged(report.url, MONDAY - timedelta(7), MONDAY - timedelta(1)),
    )
    theta = dict(query(report.url, "select user_id, theta from mirt_ability"))
    kpis = {
        row[0]: row[1:]
        for row in query(
            report.url,
            "select user_id, i_t, i_t_lower, i_t_upper, r_t, r_t_n from weekly_kpi where week_start = %s",
            MONDAY,
        )
    }
    shown = report.page.tables["learners"][1:]
    assert {row[0].removesuffix(" (new)") for row in shown} == set(expected)
    for name, ability, _last, why in shown:
        user = name.removesuffix(" (new)")
        assert name.endswith(" (new)") == (user not in before)
        assert ability == written(theta[user], signed=True)
        assert set(re.findall("Ability fell|No answer|Errors stay", why)) == expected[user]
        i_t, low, high, r_t, r_n = kpis[user]
        if "Ability fell" in why:
            assert f"{written(i_t, signed=True)} ({span(low, high, signed=True)})" in why
        if "Errors stay" in why:
            assert f"{written(100 * r_t, 0)} % of {r_n} items" in why
    counts = [len(expected[row[0].removesuffix(" (new)")]) for row in shown]
    assert counts == sorted(counts, reverse=True)


def test_item_table_equals_the_bank(report: Report) -> None:
    """A psychometrician would look for an item's numbers in vain."""
    bank = {
        row[0]: row[1:]
        for row in query(
            report.url,
            "select item_id, a, b, infit, outfit, p_value, n_responses from mirt_item_params where run_id = 'run-now'",
        )
    }
    shown = report.page.tables["items"][1:]
    assert [row[0] for row in shown] == [str(rank) for rank in range(1, len(shown) + 1)]
    for _rank, name, a, b, infit, outfit, right, n, _why in shown:
        params = bank[name]
        assert [a, b, infit, outfit] == [written(value) for value in params[:4]]
        assert right == f"{written(100 * params[4], 0)} %"
        assert n == f"{params[5]:,}"
    assert [row[1] for row in shown[:6]] == [f"item-00{number}" for number in (1, 2, 4, 5, 6, 3)]
    why = {row[1]: row[-1] for row in shown}
    assert "Goes together with item-007" in why["item-000"]
    assert "Goes together with item-000" in why["item-007"]
    assert "easier within the window by 0.93 logits" in why["item-006"]


def test_theta_trend_is_the_random_effects_mean(report: Report) -> None:
    """The title's change would not be that of the learners' thetas (DerSimonian and Laird, 1986)."""
    rows = frame(report.url, "select week_start, y, v from student_week_theta where n >= 5 and v is not null")
    means = []
    for _, week in rows.astype({"y": float, "v": float}).groupby("week_start"):
        weight = 1 / week["v"]
        fixed = np.average(week["y"], weights=weight)
        excess = (weight * (week["y"] - fixed) ** 2).sum() - (len(week) - 1)
        tau2 = max(0, excess / (weight.sum() - (weight**2).sum() / weight.sum()))
        means.append((np.average(week["y"], weights=1 / (week["v"] + tau2)), (1 / (week["v"] + tau2)).sum() ** -0.5))
    (first, first_se), (last, last_se) = means[0], means[-1]
    clear = abs(last - first) > 1.96 * np.hypot(first_se, last_se)
    start = MONDAY - timedelta(weeks=25)
    day = f"{start.day} {start:%b %Y}"
    if clear:
        direction = "rose" if last > first else "fell"
        message = (
            f"Mean ability {direction} by {written(abs(last - first))} since {day}, to {written(last, signed=True)}"
        )
    else:
        message = f"Mean ability held steady since {day}; it is now {written(last, signed=True)}"
    assert message in report.page.text


def test_segment_scale_and_gap_tables_equal_the_tables(report: Report) -> None:
    """The remaining tables, cell by cell."""
    page = report.page
    sizes = query(report.url, "select label, count(*) from user_segments where as_of = %s group by 1", AS_OF)
    total = sum(n for _, n in sizes)
    names = {
        "short_frequent": "Short and frequent",
        "improving": "Improving",
        "struggling": "Struggling",
        "efficient": "Efficient",
    }
    stability = dict(zip(names, ("0.91", "0.83", "0.77", "0.61"), strict=True))
    expected = {
        names[label]: [str(n), f"{written(100 * n / total, 0)} %", stability[label]]
        if n >= 10
        else ["under 10", "–", "–"]
        for label, n in sizes
    }
    assert {row[0]: row[1:4] for row in page.tables["segments"][1:]} == expected

    assert [row[:3] for row in page.tables["link"][1:]] == [["A", "1.031", "0.021"], ["B", "−0.046", "0.034"]]
    assert "Linking constants by Stocking–Lord over 7 anchors" in page.text
    bank = {(run, item): b for run, item, b in query(report.url, "select run_id, item_id, b from mirt_item_params")}
    assert page.tables["drifted"][1:] == [
        ["item-004", written(bank["run-before", "item-004"]), written(bank["run-now", "item-004"]), "31.40", "0.000"]
    ]
    gaps = query(
        report.url,
        "select count(*) filter (where i_t is null), count(*) filter (where e_t is null), "
        "count(*) filter (where r_t is null) from weekly_kpi where week_start = %s",
        MONDAY,
    )[0]
    assert {row[0]: row[2] for row in page.tables["gaps"][1:]} == dict(
        zip(("Growth", "Efficiency", "Resolution"), map(str, gaps), strict=True)
    )


def test_provenance_says_what_was_run(report: Report) -> None:
    """Nobody could tell which data, model and version a printed report rests on."""
    tables = report.page.tables
    run, calibration = (dict(rows[1:]) for rows in (tables["run"], tables["calibration"]))
    assert run["Tenant"] == "default"
    assert run["Answers up to (UTC)"] == "31 Jan 2026"
    assert run["Version"] == "3.0.0"
    assert run["Parameters"] == "model = 2PL, report_lang = en"
    assert calibration["run_id"] == "run-now"
    assert calibration["Size"] == "987 learners, 30 items, 12,345 first attempts"
    assert calibration["Fit"] == "log-likelihood −6,543.2, AIC 13,206.4, BIC 13,654.3"
    assert calibration["Learners’ ability"] == "mean +0.12, standard deviation 1.04"
    assert calibration["Fingerprint of the data"] == "f1e2d3"
    assert tables["jobs"][1][:2] == ["Database schema", "Done"]
    assert tables["left_out"][1:] == [["Item calibration", tables["left_out"][1][1], "137"]]


def test_learner_page_equals_the_tables(report: Report) -> None:
    """Teacher and learner would talk about wrong numbers."""
    user = "learner-0007"
    page = Page.read(report.folder / f"learners/{user}.en.html")
    theta, se, n = query(report.url, "select theta, se, n_responses from mirt_ability where user_id = %s", user)[0]
    assert page.headings[0] == user
    assert f"Ability θ {written(theta, signed=True)} ± {written(se)} (standard error), from {n} answers" in page.text
    kpi = frame(report.url, "select * from weekly_kpi where user_id = %s and week_start = %s", user, MONDAY).iloc[0]
    for row, name in zip(page.tables["kpis"][1:], ("i_t", "a_t", "e_t", "r_t"), strict=True):
        signed = name in {"i_t", "e_t"}
        missing = kpi[name] is None or np.isnan(kpi[name])
        assert row[1] == written(kpi[name], signed=signed)
        assert row[2] == ("–" if missing else span(kpi[f"{name}_lower"], kpi[f"{name}_upper"], signed=signed))
        assert row[3] == str(kpi[f"{name}_n"])
    cohort = {row[0]: row[2] for row in report.page.tables["kpis"][1:]}
    assert {row[0]: row[4] for row in page.tables["kpis"][1:]} == cohort
    topics = query(
        report.url,
        "select topic_id, theta, theta - 1.96 * se, theta + 1.96 * se, n_responses from student_topic_theta "
        "where user_id = %s order by theta",
        user,
    )
    assert page.tables["topics"][1:] == [
        [topic, written(theta, signed=True), span(low, high, signed=True), str(n)]
        for topic, theta, low, high, n in topics
    ]


def test_csv_files_hold_the_tables(report: Report) -> None:
    """An analyst would compute on other numbers than the report shows."""
    for name, statement in {
        "item_bank": "select item_id, a, b, se_a, outfit, n_responses from mirt_item_params where run_id = 'run-now'",
        "item_quality": "select item_id, rmsd, p_adjusted, shift, shift_ets from mirt_item_fit",
        "abilities": "select user_id, theta, se, n_responses from mirt_ability",
        "kpis": "select user_id, i_t, i_t_raw, a_t_dropped, e_t, r_t_reason from weekly_kpi "
        f"where week_start = '{MONDAY}'",
    }.items():
        with (report.folder / f"csv/{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        expected = frame(report.url, statement)
        key = expected.columns[0]
        assert [row[key] for row in rows] == sorted(expected[key])
        values = expected.set_index(key)
        for row in rows:
            for column in values.columns:
                value = values.loc[row[key], column]
                if isinstance(value, float):
                    assert (row[column] == "") == np.isnan(value)
                    assert np.isnan(value) or float(row[column]) == value
                elif isinstance(value, list):
                    assert row[column] == "{" + ",".join(value) + "}"
                else:
                    assert row[column] == ("" if value is None else str(value))


# --- formats, engines, languages ---------------------------------------------------------------------------------


def assert_same_numbers(page: Page, pdf: str) -> None:
    missing = Counter(numbers(page.text)) - Counter(numbers(pdf))
    contents = Counter(numbers(" ".join(page.headings)))  # the table of contents, which paper does not have
    assert not missing - contents


def test_pdf_has_the_same_headings_and_numbers(report: Report) -> None:
    """Paper and screen would tell different stories."""
    page, pdf = report.page, report.pdf
    for heading in page.headings:
        assert heading in pdf
    assert_same_numbers(page, pdf)


@pytest.fixture(scope="module")
def quarto() -> Iterator[None]:
    """Quarto on PATH, from the machine or from the installer beside the repository."""
    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("quarto") is None:
            if not SHARED_QUARTO.exists():
                pytest.skip("there is no quarto on PATH")
            installed = subprocess.run([SHARED_QUARTO], capture_output=True, text=True, check=False)
            if installed.returncode != 0:
                pytest.skip(f"quarto cannot be installed here: {installed.stderr[-300:]}")
            patch.setenv("PATH", installed.stdout.strip() + os.pathsep + os.environ["PATH"])
        yield


@pytest.mark.usefixtures("quarto")
def test_both_engines_give_the_same_report(report: Report, tmp_path: Path) -> None:
    """A site without Quarto would read another report."""
    assert make(report.url, tmp_path, engine="quarto") == 0
    other = dataclasses.replace(report, store=tmp_path)
    page, same = report.page, other.page
    assert same.headings == page.headings
    assert same.tables == page.tables
    assert same.badges == page.badges
    assert same.labels == page.labels
    assert same.text == page.text
    assert_same_numbers(page, other.pdf)
    engines = {
        row[0]
        for row in query(report.url, "select engine from report_artifacts where url like %s", f"%{tmp_path}%html")
    }
    assert len(engines) == 1
    assert engines.pop().startswith("quarto 1.")


def test_korean_report_has_the_same_numbers(report: Report, tmp_path: Path) -> None:
    """A Korean reader would get other numbers, or boxes instead of letters."""
    assert make(report.url, tmp_path, lang="ko") == 0
    made = dataclasses.replace(report, store=tmp_path, lang="ko")
    english, korean, paper = report.page, made.page, made.pdf
    assert "살펴볼 학습자" in korean.headings
    assert len(korean.headings) == len(english.headings)
    for name, rows in english.tables.items():
        other = korean.tables[name]
        assert len(other) == len(rows)
        if name in {"kpis", "link", "drifted", "items"}:
            for row, same in zip(rows[1:], other[1:], strict=True):
                found = [sorted(numbers(" ".join(cell for cell in cells if cell))) for cells in (row[1:], same[1:])]
                assert found[0] == found[1]
    assert_same_numbers(korean, paper)
    for heading in korean.headings:
        assert heading in paper
    words = set(re.sub(r"[^a-zA-Z]+", " ", korean.text).split())
    assert not {"learners", "Ability", "items", "the", "weeks"} & words


def test_the_page_is_one_file(report: Report) -> None:
    """A page sent by mail would lose its figures and style."""
    page = report.page
    beside = [source for source in page.sources if not source.startswith("#")]
    assert beside == [f"learners/{row[0].removesuffix(' (new)')}.en.html" for row in page.tables["learners"][1:]]
    assert all((report.folder / path).exists() for path in beside)
    assert len(page.labels) == 7
    assert "<style>" in page.html
    assert not {"script", "link", "iframe", "img"} & page.tags


def test_the_same_day_twice_gives_the_same_bytes(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """Nobody could tell whether a number changed since yesterday's mail."""
    url = cohorts("ordinary", learners=50)
    digests = []
    for name in ("first", "second"):
        assert make(url, tmp_path / name, pages="flagged", lang="ko") == 0
        folder = tmp_path / name / DAY
        digests.append(
            {
                str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )
    assert len(digests[0]) > 10
    assert digests[0] == digests[1]


# --- what does not run, what is too small ------------------------------------------------------------------------


def test_failed_skipped_and_absent_jobs_have_badges(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """A reader would take an old or missing section for this week's."""
    url = cohorts(
        "troubled",
        failed={
            "cluster_segments": ("skipped", "mean Jaccard 0.41 is under 0.6: no stable segments"),
            "mirt_calibrate": ("failed", "not published: the EM algorithm did not converge in 500 iterations"),
            "fit_glmm": ("failed", "r-glmm-plumber: POST /glmm/fit: draining: the service is stopping"),
            "fit_bayesian_growth": ("skipped", "there is no r-brms-plumber here: R is not installed"),
        },
    )
    with psycopg.connect(url) as connection:
        connection.execute("delete from job_run where job = 'features_backfill'")
        connection.execute("update segment_meta set status = 'skipped', reason = 'x' where as_of = %s", (AS_OF,))
        connection.execute("delete from user_segments where as_of = %s", (AS_OF,))
    for lang in ("en", "ko"):
        assert make(url, tmp_path, lang=lang) == 0
    page = Report(url, tmp_path).page
    badges = [badge for badge in page.badges if re.match(r"Failed|Skipped|Did not run", badge)]
    assert len(badges) == 5
    assert "Failed Item calibration: not published: the EM algorithm did not converge in 500 iterations" in badges[0]
    assert badges[1].startswith("Did not run Weekly and topic ability: there is no record of a run for this day")
    assert badges[2].startswith(
        "Failed Growth by topic (GLMM): r-glmm-plumber: POST /glmm/fit: draining: the service is"
    )
    assert badges[3].startswith("Skipped Growth and goals: there is no r-brms-plumber here: R is not installed")
    assert badges[4].startswith("Skipped Segments: mean Jaccard 0.41 is under 0.6: no stable segments")
    assert page.headings[1] == "The week at a glance"
    assert page.text.index(badges[0]) < page.text.index("Active learners, last 7 days")
    assert "There are no groups this week" in page.text
    assert "segments" not in page.tables
    korean = Report(url, tmp_path, "ko").page
    assert any(badge.startswith("실패 문항 모수 추정") for badge in korean.badges)


@pytest.mark.parametrize("status", ["failed", "absent", "running"])
def test_without_kpis_there_is_no_report(
    cohorts: Callable[..., str], tmp_path: Path, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A report of an empty week would look like a week without learners."""
    url = cohorts("small", learners=8, items=6, weeks=3)
    day = AS_OF + timedelta(days=1)
    if status != "absent":
        with psycopg.connect(url) as connection:
            connection.execute(
                "insert into job_run (job, as_of, status, code_version, finished_at) "
                "values ('compute_daily_kpis', %s, %s, '3', %s)",
                (day, status, None if status == "running" else AS_OF),
            )
    assert make(url, tmp_path, as_of=day) == 65
    assert f"compute_daily_kpis of {day} (tenant 'default') is {status}" in caplog.text
    assert not list(tmp_path.iterdir())
    with psycopg.connect(url) as connection:
        connection.execute("delete from job_run where as_of = %s", (day,))


def test_groups_under_ten_learners_are_not_described(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """A median of three learners says something of each of them."""
    url = cohorts("small", learners=8, items=6, weeks=3)
    assert make(url, tmp_path, pages="all") == 0
    page = Report(url, tmp_path).page
    assert [row[2:] for row in page.tables["kpis"][1:]] == [["–", "–", "–"]] * 4
    assert all(row[1:4] == ["under 10", "–", "–"] for row in page.tables["segments"][1:])
    assert "Mean growth in a fortnight (θ) – not shown: fewer than 20 learners" in page.text
    assert "in no week did 10 learners answer at least 5 new items each" in page.text
    learner = Page.read(next((tmp_path / DAY / "learners").glob("*.html")))
    assert [row[4] for row in learner.tables["kpis"][1:]] == ["–"] * 4


def test_an_empty_bank_and_log_still_make_a_report(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """A first day with too little data would end in a trace instead of a page that says so."""
    url = cohorts("empty", learners=1, items=6, weeks=1)
    with psycopg.connect(url) as connection:
        for table in (
            "mirt_fit_meta",
            "mirt_ability",
            "weekly_kpi",
            "student_week_theta",
            "student_topic_theta",
            "features_topic_daily",
            "user_segments",
            "segment_meta",
            "learner_goal",
        ):
            connection.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))
    for lang in ("en", "ko"):
        assert make(url, tmp_path, lang=lang, pages="all") == 0
    page = Report(url, tmp_path).page
    assert "No items are calibrated yet, so nothing can be said about ability." in page.text
    assert page.text.count("There is no published item bank as of this day.") == 2


def test_another_tenants_learners_never_appear(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """One school would read another's learners."""
    url = cohorts("tenants", learners=12, user_ids=("ours",))
    with db.connect(settings_of(url)) as connection:
        write_cohort(connection, tenant="Other School", learners=12, user_ids=("theirs",), seed=2)
        connection.commit()
    assert make(url, tmp_path / "alone", pages="all") == 0
    assert make(url, tmp_path / "both", pages="all", tenant="Other School") == 0
    (folder,) = (tmp_path / "both").iterdir()
    assert folder.name == safe_name("Other School")
    files = sorted(path.name for path in (tmp_path / "alone" / DAY / "learners").iterdir())
    assert "ours.en.html" in files
    assert "theirs.en.html" not in files
    assert "theirs" not in (tmp_path / "alone" / DAY / "csv/kpis.csv").read_text()


# --- hostile ids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["pandoc", "quarto"])
def test_hostile_ids_are_shown_and_do_nothing(
    cohorts: Callable[..., str], tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """A learner could name himself into the teacher's browser, or stop the whole report."""
    if engine == "quarto":
        request.getfixturevalue("quarto")
    url = cohorts("hostile", learners=20, items=20, user_ids=HOSTILE_IDS, item_ids=HOSTILE_IDS)
    with psycopg.connect(url) as connection:  # let everybody and everything be listed
        connection.execute("update weekly_kpi set i_t_lower = -0.9, i_t_upper = -0.1 where i_t is not null")
        connection.execute("update weekly_kpi set r_t_lower = 0.1, r_t_upper = 0.4 where r_t is not null")
        connection.execute("update mirt_item_params set outfit = 2.5, status = 'estimated'")
    assert make(url, tmp_path, engine=engine, pages="all" if engine == "pandoc" else "none") == 0
    report = Report(url, tmp_path)
    page = report.page
    assert not {"script", "b", "em", "code", "img", "iframe"} & page.tags
    items = {row[1] for row in page.tables["items"][1:]}
    assert {" ".join(visible(name).split()) for name in HOSTILE_IDS} <= items
    pdf = re.sub(r"\s|\u200b", "", report.pdf)
    for name in HOSTILE_IDS:
        assert re.sub(r"\s", "", visible(name)) in pdf
    assert query(url, "select count(*) from weekly_kpi")[0][0] > 0
    if engine == "pandoc":
        for name in HOSTILE_IDS:
            learner = Page.read(report.folder / f"learners/{safe_name(name)}.en.html")
            assert learner.headings[0] == " ".join(visible(name).split())
            assert not {"script", "b", "em", "code"} & learner.tags
        rows = csv.DictReader(io.StringIO((report.folder / "csv/kpis.csv").read_bytes().decode(), newline=""))
        assert set(HOSTILE_IDS) <= {row["user_id"] for row in rows}


# --- the store ---------------------------------------------------------------------------------------------------


def artifacts(url: str, store: Path | str) -> pd.DataFrame:
    return frame(url, "select * from report_artifacts where url like %s order by url", f"%{store}%")


def test_every_file_is_registered_with_its_hash(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """A file could be changed or missing and nobody would know."""
    url = cohorts("registered", learners=12, items=8, weeks=4)
    assert make(url, tmp_path, pages="all") == 0
    rows = artifacts(url, tmp_path)
    files = {path.as_uri(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(rows["url"]) == set(files)
    assert len(rows) == 2 + 4 + 2 * 12
    for file, sha256, size in zip(rows["url"], rows["sha256"], rows["bytes"], strict=True):
        assert sha256 == hashlib.sha256(files[file].read_bytes()).hexdigest()
        assert size == files[file].stat().st_size
    assert set(rows["week_start"]) == {MONDAY}
    assert set(rows.loc[rows["scope"] == "cohort", "format"]) == {
        "html",
        "pdf",
        "csv:item_bank",
        "csv:item_quality",
        "csv:abilities",
        "csv:kpis",
    }
    runs = query(url, "select job_run_id from job_run where job = 'generate_weekly_report' and status = 'success'")
    assert set(rows["job_run_id"]) == {runs[-1][0]}


def test_a_rerun_replaces_the_day_and_its_stale_pages(cohorts: Callable[..., str], tmp_path: Path) -> None:
    """A page nobody asked for any more would stay in the store."""
    url = cohorts("registered", learners=12, items=8, weeks=4)
    assert make(url, tmp_path, pages="all", lang="en") == 0
    assert make(url, tmp_path, pages="all", lang="ko") == 0
    assert make(url, tmp_path, pages="none", lang="en") == 0
    rows = artifacts(url, tmp_path)
    assert {unquote(urlsplit(row).path) for row in rows["url"]} == {str(p) for p in tmp_path.rglob("*") if p.is_file()}
    assert set(rows.loc[rows["scope"] == "learner", "lang"]) == {"ko"}
    assert set(rows.loc[rows["format"] == "html", "lang"]) == {"en", "ko"}


def test_the_last_line_names_the_report(
    cohorts: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A person at a terminal would not know where the report is."""
    caplog.set_level("INFO")
    assert make(cohorts("registered", learners=12, items=8, weeks=4), tmp_path) == 0
    own = [record.message for record in caplog.records if record.name.endswith("generate_weekly_report")]
    assert own[-1] == f"report: {(tmp_path / DAY / 'weekly-report.en.html').as_uri()}"


def test_a_dry_run_writes_no_file(
    cohorts: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rehearsal would replace the report that people read."""
    assert make(cohorts("registered", learners=12, items=8, weeks=4), tmp_path, dry_run=True) == 0
    assert not list(tmp_path.iterdir())
    assert '"report_artifacts": 6' in capsys.readouterr().out


def test_a_missing_store_is_a_setting_to_set(cohorts: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    """The first thing a new user meets."""
    assert make(cohorts("registered", learners=12, items=8, weeks=4), "") == 64
    assert "REPORT_STORE_URL is not set: expected an fsspec URL of a folder, such as /srv/reports" in caplog.text


def test_quarto_that_is_not_there_is_named(
    cohorts: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A site that insists on Quarto would silently get another engine's report."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert make(cohorts("registered", learners=12, items=8, weeks=4), tmp_path, engine="quarto") == 64
    assert "REPORT_ENGINE=quarto: there is no quarto on PATH" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_keeps_the_report_and_its_rows(
    cohorts: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a report, or rows that tell of files that are not there."""
    url = cohorts("registered", learners=12, items=8, weeks=4)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", tmp_path], check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        assert make(url, tmp_path) == 0
        rows, before = artifacts(url, tmp_path), {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert make(url, tmp_path, pages="all") == 75
        assert "no space left for the report" in caplog.text
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
        pd.testing.assert_frame_equal(artifacts(url, tmp_path), rows)
        status, error = query(url, "select status, error from job_run order by job_run_id desc limit 1")[0]
        assert status == "failed"
        assert "no space left for the report" in error
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server: moto's, as a process of its own."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.findall(r"http://127\.0\.0\.1:\d+", line)))
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=address)
        client.create_bucket(Bucket="reports")
        yield client
    finally:
        server.terminate()
        server.wait()


def test_s3_gets_the_same_files(cohorts: Callable[..., str], tmp_path: Path, s3: Any) -> None:
    """A cluster's store would lack files, or hold others than a laptop's."""
    url = cohorts("registered", learners=12, items=8, weeks=4)
    assert make(url, tmp_path, pages="all") == 0
    assert make(url, "s3://reports/school", pages="all") == 0
    local = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    listed = s3.list_objects_v2(Bucket="reports")["Contents"]
    remote = {
        entry["Key"].removeprefix("school/"): s3.get_object(Bucket="reports", Key=entry["Key"])["Body"].read()
        for entry in listed
    }
    assert remote == local

    assert make(url, "s3://reports/school", pages="none") == 0
    rows = artifacts(url, "s3://")
    assert set(rows["url"]) == {
        f"s3://reports/{entry['Key']}" for entry in s3.list_objects_v2(Bucket="reports")["Contents"]
    }
    assert len(rows) == 6


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_a_setting_to_mend(
    cohorts: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong name would be retried all night."""
    assert make(cohorts("registered", learners=12, items=8, weeks=4), "s3://nosuchbucket/reports") == 64
    assert "REPORT_STORE_URL=s3://nosuchbucket/reports" in caplog.text


def test_a_store_that_is_away_is_tried_again(
    cohorts: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart of the store would fail the day."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert make(cohorts("registered", learners=12, items=8, weeks=4), "s3://reports/away") == 75
    assert "REPORT_STORE_URL=s3://reports/away" in caplog.text
