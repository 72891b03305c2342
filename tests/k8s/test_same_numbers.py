"""Pods and processes compute the same: a day of each log in the installed product, and by commands beside it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.databases import settings_of
from tests.integration.chain import CHAIN, contents
from tests.integration.real_logs import REAL_LOGS
from tests.k8s.conftest import CONF
from tests.k8s.installation import airflow, answers, answers_url, await_state
from tests.k8s.installation import log as task_log
from tests.r.conftest import r_status, require_r
from tests.r.rservice import PACKAGES, branch_services

from irt_analytics.deploy.cluster import forwarded, read_secret
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE
from irt_analytics.deploy.run import Run, load

__all__ = ["r_status", "require_r"]  # fixtures of this module too

pytestmark = [pytest.mark.prove, pytest.mark.timeout(5400)]

QUERY_OF_FILES = """
    select regexp_replace(url, '.*/', '') as name, sha256
    from report_artifacts
    where starts_with(format, 'csv:') and tenant_id = %s
    order by name
"""

QUERY_OF_SHARDS = """
    select job, parameters ->> 'shard' as shard
    from job_run
    where parameters ->> 'shard' is not null and status = 'success' and tenant_id = %s
    order by job, shard
"""


@dataclass(frozen=True)
class Log:
    """A log of a tenant of its own, how it gets into the database, the day to compute, and the shards of it in pods."""

    tenant: str
    command: tuple[str, ...]
    day: date
    shards: int = 1

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """What loads the log and computes the day without Airflow."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in CONF.items()]
        day = f"--as-of={self.day}"
        jobs = [(job, day, f"--tenant={self.tenant}", *flags) for job in CHAIN]
        return [("prepare_schema", day), (*self.command, "--tenant", self.tenant), *jobs]


STATISTICS = REAL_LOGS[0]
LOGS = [
    Log(STATISTICS.name, ("load", str(STATISTICS.path)), STATISTICS.as_of),
    Log(
        "two_thousand_learners",
        ("simulate", "--as-of", "2026-01-31", "--learners", "2000", "--weeks", "26"),
        date(2026, 1, 31),
        shards=2,
    ),
]


@pytest.fixture
def other_database(day: Run) -> Iterator[str]:  # noqa: ARG001
    """URL of an empty database of the trial's PostgreSQL: another release of it rounds its functions differently."""
    wanted = psycopg.conninfo.conninfo_to_dict(answers_url())
    password = (read_secret("irt-postgres", AIRFLOW_NAMESPACE) or {})["password"]
    with forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port:
        admin = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable"
        with psycopg.connect(admin, autocommit=True) as server:
            owner = sql.Identifier(str(wanted["user"]))
            server.execute("drop database if exists by_processes with (force)")
            server.execute(sql.SQL("create database by_processes owner {}").format(owner))
        yield f"postgresql://{wanted['user']}:{wanted['password']}@127.0.0.1:{port}/by_processes?sslmode=disable"
        with psycopg.connect(admin, autocommit=True) as server:
            server.execute("drop database by_processes with (force)")


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.tenant)
def test_pods_give_the_numbers_that_processes_give(
    day: Run,  # noqa: ARG001 - the Dag is there, and not paused
    other_database: str,
    require_r: Callable[[str], Path],
    tmp_path: Path,
    log: Log,
) -> None:
    """Who moves from a laptop to a cluster, or spreads the learners there, must not see history change.

    Each column to the bit, and each file of data.
    """
    if log.command[0] == "load" and not Path(log.command[1]).exists():
        pytest.skip(f"there is no {log.command[1]}")
    load((*log.command, "--tenant", log.tenant), print)
    with airflow() as client:
        run_id = client.trigger({"as_of": log.day.isoformat(), "tenant": log.tenant, "shards": log.shards, **CONF})
    tries = await_state(run_id, {"all_branches_ok": "success"}, seconds=3000)
    for job in ("features_backfill", "compute_daily_kpis"):
        said = task_log(run_id, job, tries[job]["try_number"])
        assert f"{job} ended after" in said
        assert "computing all of them here" not in said
    with answers() as settings:
        url = settings.database_url.get_secret_value()
        in_pods = contents(settings, tenant=log.tenant)
        files = rows(url, QUERY_OF_FILES, log.tenant)
        assert rows(url, QUERY_OF_SHARDS, log.tenant) == [
            (job, f"{number}/{log.shards}")
            for job in ("compute_daily_kpis", "features_backfill")
            for number in range(1, log.shards + 1)
            if log.shards > 1
        ]
        ((version,),) = rows(url, "select distinct code_version from job_run where tenant_id = %s", log.tenant)
    (library,) = {require_r(name) for name in PACKAGES}
    environment = {
        **os.environ,
        "DATABASE_URL": other_database,
        "REPORT_STORE_URL": (tmp_path / "reports").as_uri(),
        "R_IRT_UNAVAILABLE": "not asked",
        # the image's processor, and its version, which is part of every run_id
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "IRT_CODE_COMMIT": version.partition("+")[2],
    }
    with branch_services(library, tmp_path) as services:
        environment |= {name.upper(): value for name, value in services.items()}
        for command in log.commands:
            ended = subprocess.run(
                [sys.executable, "-m", "irt_analytics", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr[-3000:]
    in_processes = contents(settings_of(other_database), tenant=log.tenant)
    # of a report, its address is the store's and its pages tell of their run; its data are files
    for found in (in_pods, in_processes):
        del found["report_artifacts"]
    assert in_processes == in_pods
    assert files == rows(other_database, QUERY_OF_FILES, log.tenant) != []


def rows(url: str, query: str, tenant: str) -> list[tuple[Any, ...]]:
    """What a query finds of a tenant."""
    with psycopg.connect(url) as connection:
        return connection.execute(query, [tenant]).fetchall()
