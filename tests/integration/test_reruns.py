"""A day can be run again, alone, late, twice at once or after a crash, and the numbers are those of an undisturbed run.

Were one of these to fail, a trend in the report could be an artefact of a retry.
"""

import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import psycopg
import pytest
from tests.databases import settings_of
from tests.integration.chain import (
    CHAIN,
    FIRST_DAY,
    NEXT_DAY,
    PARAMS,
    TABLES_OF_R,
    WITHOUT_R,
    contents,
    copy_of,
    load_cohort,
    load_hostile_cohort,
    offences,
    run,
    run_chain,
)
from tests.integration.logs import query, rows_of

from irt_analytics import db
from irt_analytics.settings import Settings

pytestmark = pytest.mark.slow

KILLS = 10
#: Where the numbers are that a learner's or an item's answers lead to.
RESULTS = (
    "mirt_item_params",
    "mirt_ability",
    "student_week_theta",
    "student_topic_theta",
    "features_topic_daily",
    "weekly_kpi",
    "user_segments",
)


@dataclass
class World:
    """Databases as they stand at stages of an undisturbed run of two days, for tests to copy."""

    server_url: str
    report_store: str
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    copies: int = 0

    def settings(self, url: str) -> Settings:
        return settings_of(url, report_store_url=self.report_store, report_engine="pandoc", **WITHOUT_R)

    def copy(self, stage: str, stack: ExitStack) -> Settings:
        self.copies += 1
        return self.settings(stack.enter_context(copy_of(self.server_url, f"stage_{stage}", f"copy_{self.copies}")))

    def keep(self, database: str, stage: str, stack: ExitStack) -> None:
        stack.enter_context(copy_of(self.server_url, database, f"stage_{stage}"))


@pytest.fixture(scope="module")
def world(postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(postgres_url, (tmp_path_factory.mktemp("reports") / "store").as_uri())
    with ExitStack() as stack:
        settings = world.settings(stack.enter_context(copy_of(postgres_url, template_database, "undisturbed")))
        load_cohort(settings)
        world.keep("undisturbed", "loaded", stack)
        run_chain(settings, FIRST_DAY)
        world.digests["first_day"] = contents(settings)
        world.keep("undisturbed", "first_day", stack)
        for job in CHAIN:
            world.keep("undisturbed", f"before_{job}", stack)
            world.digests[f"before_{job}"] = contents(settings)
            assert run(settings, job, NEXT_DAY) == 0
            world.digests[f"after_{job}"] = contents(settings)
            world.seconds[job] = _seconds_of_last_run(settings)
        world.digests["next_day"] = contents(settings)
        world.keep("undisturbed", "next_day", stack)
        yield world


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_every_table_has_rows_to_compare(world: World) -> None:
    """Digests of empty tables would agree whatever the jobs do."""
    empty = {table for table, digest in world.digests["next_day"].items() if digest.startswith("0 rows")}
    few = {"user_segments", "mirt_item_pair", "job_part"} | TABLES_OF_R
    assert empty <= few, "a small cohort may have no stable segments and no items that depend, but everything else"


def test_verify_finds_nothing_after_each_day(world: World, stack: ExitStack) -> None:
    """A check that fails on a sound run would be switched off; so would one that the next day's run makes fail."""
    assert offences(world.copy("first_day", stack), FIRST_DAY) == []
    settings = world.copy("next_day", stack)
    assert offences(settings, FIRST_DAY) == []
    assert offences(settings, NEXT_DAY) == []


def test_the_same_day_twice_gives_identical_numbers(world: World, stack: ExitStack) -> None:
    settings = world.copy("next_day", stack)
    run_chain(settings, NEXT_DAY)
    assert contents(settings) == world.digests["next_day"]


def test_a_later_day_changes_no_earlier_row(world: World, stack: ExitStack) -> None:
    settings = world.copy("next_day", stack)
    assert contents(settings, up_to=FIRST_DAY) == world.digests["first_day"]


def test_a_past_day_reads_only_what_was_published_by_then(world: World, stack: ExitStack) -> None:
    settings = world.copy("next_day", stack)
    run_chain(settings, FIRST_DAY)
    assert contents(settings, up_to=FIRST_DAY) == world.digests["first_day"]
    assert contents(settings) == world.digests["next_day"]


def test_a_task_cleared_and_run_alone_changes_nothing(world: World, stack: ExitStack) -> None:
    settings = world.copy("next_day", stack)
    for job in reversed(CHAIN):
        assert run(settings, job, NEXT_DAY) == 0
        assert contents(settings) == world.digests["next_day"], f"{job} run alone changed something"


def test_answers_after_the_day_change_nothing(world: World, stack: ExitStack) -> None:
    """Else yesterday's KPIs would depend on when they were computed."""
    settings = world.copy("loaded", stack)
    with db.connect(settings) as connection:
        deleted = connection.execute(
            "delete from attempt_log where completed_at >= %s", (FIRST_DAY + timedelta(days=1),)
        ).rowcount
        connection.commit()
    assert deleted
    run_chain(settings, FIRST_DAY)
    assert contents(settings) == world.digests["first_day"]


def test_tenants_with_the_same_ids_never_mix(world: World, stack: ExitStack) -> None:
    settings = world.copy("loaded", stack)
    load_cohort(settings, tenant="another school", seed=7)
    run_chain(settings, FIRST_DAY, tenant="another school")
    run_chain(settings, FIRST_DAY)
    assert contents(settings) == world.digests["first_day"]
    other = contents(settings, tenant="another school")
    assert not set(other.values()) & {digest for digest in world.digests["first_day"].values() if digest[:2] != "0 "}


def test_ids_may_be_anything(world: World, stack: ExitStack) -> None:
    """Else a learner whose id holds a quote or a line break would break the run, or lose answers to another."""
    tenant = 'Ann\'s "school"\n한국 %s/../; drop schema public cascade'
    settings = world.copy("first_day", stack)
    plain_ids = load_hostile_cohort(settings, tenant)
    run_chain(settings, FIRST_DAY, tenant=tenant)
    assert offences(settings, FIRST_DAY, tenant=tenant) == []
    for table in RESULTS:
        plain, hostile = rows_of(settings, table), rows_of(settings, table, tenant)
        for column in plain_ids.keys() & set(hostile):
            hostile[column] = hostile[column].map(plain_ids[column])
        key = [column for column in ("user_id", "item_id", "topic_id", "week_start", "date") if column in plain]
        plain, hostile = (
            frame.drop(columns=["tenant_id", "run_id"], errors="ignore").sort_values(key, ignore_index=True)
            for frame in (plain, hostile)
        )
        pd.testing.assert_frame_equal(hostile, plain, check_exact=True, obj=table)
    assert contents(settings) == world.digests["first_day"], "the plain tenant's rows"
    url = "select url from report_artifacts where tenant_id = %s and format = 'csv:item_bank'"
    bank = Path(unquote(urlsplit(query(settings, url, tenant)["url"].item()).path))
    with bank.open(encoding="utf-8", newline="") as lines:
        assert {row["item_id"] for row in csv.DictReader(lines)} == set(plain_ids["item_id"])


@pytest.mark.parametrize("job", ["mirt_calibrate", "compute_daily_kpis"])
def test_two_runs_of_a_day_at_once_never_interleave(job: str, world: World, stack: ExitStack) -> None:
    settings = world.copy(f"before_{job}", stack)
    both = [_process(settings, job) for _ in range(2)]
    ends = sorted(process.wait(timeout=120) for process in both)
    assert ends in ([0, 0], [0, 75]), "one runs; the other waits its turn or says that it is for later"
    assert contents(settings) == world.digests[f"after_{job}"]


def test_sigkill_at_any_moment_leaves_the_last_state_and_the_retry_finishes(world: World, stack: ExitStack) -> None:
    moments = random.Random(20260131)
    working = [job for job in CHAIN if job != "prepare_schema"]
    stages = set()
    for kill in range(KILLS):
        job = working[kill % len(working)]
        settings = world.copy(f"before_{job}", stack)
        process = _process(settings, job)
        _wait_until_it_works(settings, job, process)
        time.sleep(moments.random() * world.seconds[job])
        process.kill()
        ended = process.wait()
        before, after = world.digests[f"before_{job}"], world.digests[f"after_{job}"]
        left = contents(settings)
        assert left in (before, after), f"{job}, kill {kill}: a state that no run ever had"
        stages.add("before" if left == before else "after")
        assert ended == 0 or left == before or _status(settings, job) in ("success", "skipped")
        _retry(settings, job)
        assert contents(settings) == after, f"{job}, kill {kill}: the retry left something else"
    assert "before" in stages, "no kill met a job at work"


def _process(settings: Settings, job: str) -> subprocess.Popen[bytes]:
    """Start a job as the operator does."""
    return subprocess.Popen(
        [
            sys.executable,
            *("-m", "irt_analytics", job, "--as-of", str(NEXT_DAY), "--learner-pages", PARAMS.learner_pages),
        ],
        env=os.environ
        | {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "REPORT_STORE_URL": settings.report_store_url,
            "REPORT_ENGINE": settings.report_engine,
        }
        | {name.upper(): reason for name, reason in WITHOUT_R.items()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_until_it_works(settings: Settings, job: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while _status(settings, job) is None:
        assert process.poll() is None, f"{job} ended before it began"
        assert time.monotonic() < deadline, f"{job} did not begin"
        time.sleep(0.02)


def _retry(settings: Settings, job: str) -> None:
    """Run the job again as Airflow does: later, while the dead run's session still holds its lock."""
    deadline = time.monotonic() + 60
    while (code := run(settings, job, NEXT_DAY)) == 75:
        assert time.monotonic() < deadline, f"{job}: the killed run's lock is still held"
        time.sleep(0.5)
    assert code == 0


def _status(settings: Settings, job: str) -> str | None:
    """Status of the newest run of a job for the day."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute(
            "select status from job_run where job = %s and as_of = %s order by job_run_id desc limit 1", (job, NEXT_DAY)
        ).fetchone()
    return str(row[0]) if row else None


def _seconds_of_last_run(settings: Settings) -> float:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute("select duration_s from job_run order by job_run_id desc limit 1").fetchone()
    assert row is not None
    return float(row[0])
