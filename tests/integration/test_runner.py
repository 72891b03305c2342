"""The promise of every job: all of its rows or none, an exit code that says why, and a row that tells of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.databases import settings_of
from tests.integration import runner_jobs
from tests.integration.runner_jobs import AS_OF, TENANT

from irt_analytics.jobs import prepare_schema
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, run_job
from irt_analytics.settings import Settings

Lock = Any


def run(settings: Settings, name: str, *, dry_run: bool = False, days_later: int = 0, lock: Lock = "day") -> int:
    return run_job(
        Job("toy", runner_jobs.JOBS[name], lock=lock),
        tenant=TENANT,
        as_of=AS_OF + timedelta(days=days_later),
        params=RunParams(model="Rasch"),
        settings=settings,
        dry_run=dry_run,
    )


def items(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [item for (item,) in connection.execute("select item_id from question order by item_id")]


def job_runs(url: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute("select * from job_run order by job_run_id").fetchall()


@contextmanager
def process(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """A job as a process of its own, at the moment when it has written and not committed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.runner_jobs", name],
        env=os.environ | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def sleeper(connection: psycopg.Connection[Any]) -> int:
    """Wait until a job is in its slow query, and return the server's process of it."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        row = connection.execute(
            "select pid from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active'"
            " and datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
        if row is not None:
            return int(row[0])
        time.sleep(0.05)
    raise AssertionError("the job's query did not start")


FIRST_ROWS = ["item-0", "item-1", "item-2"]
OTHER_ROWS = ["item-100", "item-101", "item-102"]


def test_a_good_run_commits_its_rows_and_tells_of_them(database_url: str) -> None:
    started_by_airflow = settings_of(database_url, IRT_DAG_RUN_ID="manual__1", IRT_TRY_NUMBER=2)
    assert run(started_by_airflow, "write") == 0
    assert items(database_url) == FIRST_ROWS
    (row,) = job_runs(database_url)
    told = ("tenant_id", "job", "as_of", "status", "exit_code", "dag_run_id", "try_number", "reason", "error")
    assert [row[name] for name in told] == [TENANT, "toy", AS_OF, "success", 0, "manual__1", 2, None, None]
    assert row["rows_read"] == {"attempt": 10}
    assert row["rows_written"] == {"question": 3}
    assert row["exclusions"] == [{"reason": "rapid answers", "count": 2, "detail": "under a tenth of the median time"}]
    assert row["parameters"]["model"] == "Rasch"
    assert row["code_version"]
    assert row["duration_s"] > 0
    assert row["peak_memory_mb"] > 1
    assert row["finished_at"] >= row["started_at"]


@pytest.mark.parametrize(
    ("name", "exit_code", "said"),
    [
        ("configuration", 64, "report_lang='xx'"),
        ("refused", 65, "3 items have 20 answers"),
        ("temporary", 75, "service away"),
        ("replica", 75, "read-only transaction"),
        ("defect", 1, "ZeroDivisionError"),
        ("broken_batches", 1, "division by zero"),
        ("broken_parts", 1, "division by zero"),
    ],
)
def test_a_failed_run_leaves_the_last_state_whole_and_says_why(
    name: str, exit_code: int, said: str, settings: Settings, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(settings, "write") == 0
    assert run(settings, name) == exit_code
    assert items(database_url) == FIRST_ROWS
    row = job_runs(database_url)[-1]
    assert (row["status"], row["exit_code"]) == ("failed", exit_code)
    assert said in row["error"]
    assert said in caplog.text
    assert ("Traceback" in caplog.text) == (exit_code == 1)


def test_a_skip_is_recorded_and_no_error(settings: Settings, database_url: str) -> None:
    assert run(settings, "write") == 0
    assert run(settings, "skip") == 0
    assert items(database_url) == FIRST_ROWS
    row = job_runs(database_url)[-1]
    assert (row["status"], row["reason"], row["exit_code"]) == ("skipped", "4 learners; segments need 50", 0)


def test_a_run_that_reads_and_writes_nothing_is_not_a_success(settings: Settings, database_url: str) -> None:
    """An empty result where there was input is a broken join, and would pass as a quiet day."""
    assert run(settings, "nothing") == 65
    assert "would write no row" in job_runs(database_url)[-1]["error"]


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(
    settings: Settings, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "write", dry_run=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["would_write"] == {"question": 3}
    assert said["exclusions"][0]["count"] == 2
    assert items(database_url) == []
    assert job_runs(database_url) == []


def test_a_failing_dry_run_fails_and_leaves_no_trace(settings: Settings, database_url: str) -> None:
    assert run(settings, "refused", dry_run=True) == 65
    assert job_runs(database_url) == []


@pytest.mark.parametrize(("lock", "next_day"), [("day", 0), ("tenant", 75), ("database", 75)])
def test_two_runs_of_the_same_job_never_interleave(
    lock: Lock, next_day: int, settings: Settings, database_url: str
) -> None:
    """A retry that starts while its predecessor still rolls back would mix the rows of both."""
    with psycopg.connect(database_url, autocommit=True) as other:
        key = {"day": f"toy/{TENANT}/{AS_OF}", "tenant": f"toy/{TENANT}", "database": "toy"}[lock]
        other.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (f"irt_analytics/{key}",))
        assert run(settings, "write", lock=lock) == 75
        assert items(database_url) == []
        assert run(settings, "write", lock=lock, days_later=1) == next_day
        other.execute("select pg_advisory_unlock_all()")  # the server notices a closed connection only later
    assert run(settings, "again", lock=lock) == 0
    assert items(database_url) == OTHER_ROWS


def test_a_running_job_holds_its_lock_until_it_ends(settings: Settings, database_url: str) -> None:
    with process(database_url, "slow"):
        assert run(settings, "again") == 75
        assert [row["status"] for row in job_runs(database_url)] == ["running"]
    assert run(settings, "again") == 0
    assert items(database_url) == OTHER_ROWS


def test_a_database_that_is_away_is_temporary(database_url: str) -> None:
    away = settings_of(database_url.replace("host=", "host=/nowhere"))
    assert run(away, "write") == 75


def test_a_database_without_schema_is_told_what_to_run(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(settings_of(empty_database_url), "write") == 64
    assert "prepare_schema" in caplog.text


def test_a_server_too_old_is_refused_by_the_first_job(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a later job would end as a defect, in the middle of the night, with a syntax error."""
    monkeypatch.setattr(prepare_schema, "OLDEST_SERVER", 99)
    assert run_job(prepare_schema.JOB, tenant=TENANT, as_of=AS_OF, params=RunParams(), settings=settings) == 64
    assert re.search(r"the server is PostgreSQL \d\d, expected 99 or newer", caplog.text)


@pytest.mark.parametrize("name", ["slow_query", "slow_read", "slow_batches", "slow_parts", "slow_writing"])
def test_a_connection_cut_mid_run_is_temporary(name: str, settings: Settings, database_url: str) -> None:
    """The server was restarted: the same run will succeed later, so Airflow shall try it again."""
    assert run(settings, "write") == 0
    with process(database_url, name) as child:
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", (sleeper(other),))
        _, log = child.communicate(timeout=30)
    assert child.returncode == 75
    assert "Traceback" not in log
    assert items(database_url) == FIRST_ROWS
    row = job_runs(database_url)[-1]
    assert (row["status"], row["exit_code"]) == ("failed", 75)
    # where the client was writing, libpq has the end of the connection before it has read the reason
    assert "terminating connection" in row["error"] or "server closed the connection" in row["error"]


@pytest.mark.parametrize("name", ["slow", "slow_query", "slow_read", "slow_batches", "slow_parts", "slow_writing"])
def test_sigterm_rolls_back_and_is_never_a_success(name: str, settings: Settings, database_url: str) -> None:
    """Airflow retries 143; a 0 would mark the day as done without its rows."""
    assert run(settings, "write") == 0
    with process(database_url, name) as child:
        if name != "slow":
            with psycopg.connect(database_url, autocommit=True) as other:
                sleeper(other)
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=20)
    assert child.returncode == 143
    assert "nothing of this run was written" in log
    assert "Traceback" not in log
    assert items(database_url) == FIRST_ROWS
    row = job_runs(database_url)[-1]
    assert (row["status"], row["exit_code"]) == ("failed", 143)
    assert run(settings, "again") == 0
    assert items(database_url) == OTHER_ROWS


def test_sigkill_leaves_the_last_state_whole_and_the_retry_finishes(settings: Settings, database_url: str) -> None:
    assert run(settings, "write") == 0
    with process(database_url, "slow") as child:
        child.kill()
        child.communicate(timeout=20)
    assert child.returncode == -signal.SIGKILL
    assert items(database_url) == FIRST_ROWS
    assert job_runs(database_url)[-1]["status"] == "running"
    assert run(settings, "again") == 0
    assert items(database_url) == OTHER_ROWS
    assert [row["status"] for row in job_runs(database_url)] == ["success", "lost", "success"]


def test_a_query_stops_when_its_client_is_gone(database_url: str) -> None:
    """The calibration of a pod that was killed would go on for hours beside the one that its retry starts."""
    with process(database_url, "slow_read") as child, psycopg.connect(database_url, autocommit=True) as other:
        query = sleeper(other)
        child.kill()
        child.communicate()
        give_up = time.monotonic() + 30  # the server looks every 10 s; the query would take 60
        while other.execute("select from pg_stat_activity where pid = %s", (query,)).fetchone() is not None:
            assert time.monotonic() < give_up, "the query still runs"
            time.sleep(0.2)


def test_tenants_of_the_same_day_do_not_wait_for_each_other(settings: Settings, database_url: str) -> None:
    with process(database_url, "slow"):
        other = run_job(
            Job("toy", runner_jobs.write), tenant="another", as_of=AS_OF, params=RunParams(), settings=settings
        )
    assert other == 0


def test_branches_set_their_columns_of_the_same_rows_at_the_same_time(settings: Settings, database_url: str) -> None:
    """One of two branches would fail every night, be tried again a minute later, and use up its retries."""
    assert run(settings, "write") == 0
    assert run(settings, "share") == 0
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select distinct topic_id, meta from question").fetchall()
    assert found == [("of another branch", {"own": 1})]
