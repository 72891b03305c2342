"""A whole day with every R service: the branches run at once, and run again they give the same numbers."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from tests.integration import logs
from tests.integration.chain import CHAIN, COHORT, NEXT_DAY, TABLES_OF_R, contents, offences, run
from tests.r.rservice import PACKAGES, branch_services

from irt_analytics import db
from irt_analytics.settings import Settings
from irt_analytics.simulate import write_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BRANCHES = {
    "fit_glmm": "glmm",
    "fit_survival_churn": "forecast",
    "forecast_prophet": "forecast",
    "fit_bayesian_growth": "brms",
}
#: Long enough a past for a forecast, and items enough that learners still meet new ones at its end.
WITH_PAST = replace(COHORT, learners=200, items=240, weeks=26)


@pytest.fixture(scope="module")
def library(require_r: Callable[[str], Path]) -> Path:
    (found,) = {require_r(name) for name in PACKAGES}
    return found


def with_services(settings: Settings, found: dict[str, str]) -> Settings:
    values = {name: SecretStr(value) if name.endswith("token") else value for name, value in found.items()}
    return settings.model_copy(update=values)


def start(settings: Settings, found: dict[str, str], job: str, log: Path) -> "subprocess.Popen[bytes]":
    """Start a job as the operator does."""
    environment = {"DATABASE_URL": settings.database_url.get_secret_value()}
    environment |= {name.upper(): value for name, value in found.items()}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "irt_analytics", job, "--as-of", str(NEXT_DAY), "--learner-pages", "none"],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )


def test_branches_at_once_and_again_give_the_day_s_numbers(settings: Settings, library: Path, tmp_path: Path) -> None:
    """Were a rerun to differ, or a branch to lose another's columns, last week's trend could be a retry's artefact."""
    with db.connect(settings) as connection:
        write_database(connection, WITH_PAST, "default")
        connection.commit()
    for job in CHAIN[: CHAIN.index("compute_daily_kpis") + 1]:
        assert run(settings, job, NEXT_DAY) == 0, job
    with branch_services(library, tmp_path) as found:
        at_once = {job: start(settings, found, job, tmp_path / f"{job}.log") for job in BRANCHES}
        ends = {job: process.wait(timeout=600) for job, process in at_once.items()}
    said = "\n".join((tmp_path / f"{job}.log").read_text() for job in BRANCHES)
    assert ends == dict.fromkeys(BRANCHES, 0), said
    assert " skipped: " not in said, said
    first = contents(settings)
    assert not {table for table in TABLES_OF_R if first[table].startswith("0 rows")}
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        both = connection.execute("select count(s), count(p), count(i_t) from weekly_kpi where as_of = %s", (NEXT_DAY,))
        assert all(both.fetchone() or ()), "every branch's columns stand beside the KPIs"
    # Services that know nothing of the first run, the branches one after another in another order, and params that are
    # about other jobs.
    with branch_services(library, tmp_path) as found:
        for job in reversed(BRANCHES):
            assert logs.run(with_services(settings, found), job, NEXT_DAY, report_lang="ko", shards=4) == 0, job
    assert contents(settings) == first
    assert offences(settings, NEXT_DAY) == []
