"""The program behind the sizing table: were it to measure wrong, pods would be cut to the wrong size."""

import os
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.bench.jobs import LAST_DAY, measure


def test_a_job_s_cost_is_its_own_and_the_database_s(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        (folder,) = connection.execute("show data_directory").fetchone() or ("",)
    postmaster = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().splitlines()[0]))
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    cost = measure("prepare_schema", LAST_DAY, environment, postmaster, [])
    with psycopg.connect(empty_database_url) as connection:
        (known,) = connection.execute("select peak_memory_mb from job_run").fetchone() or (0,)
    assert (cost.job, cost.ended, cost.r_cpu, cost.r_memory) == ("prepare_schema", "success", 0, 0)
    assert cost.own_memory == pytest.approx(known, rel=0.05), "not what the kernel told the job itself"
    assert 0 < cost.own_cpu <= cost.seconds * 2
    assert cost.database_cpu > 0
    assert cost.database_memory > 0


def test_a_job_that_fails_is_named_with_its_exit_code(database_url: str) -> None:
    """A row of a job that did nothing would pass as a cheap one."""
    environment = os.environ | {"DATABASE_URL": database_url, "REPORT_STORE_URL": ""}
    cost = measure("generate_weekly_report", LAST_DAY, environment, psutil.Process(), [])
    assert cost.ended in ("exit code 64", "exit code 65")
