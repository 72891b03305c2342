"""The chain of jobs on a small simulated cohort, and what each table then holds."""

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from irt_analytics import db
from irt_analytics.cli import JOBS
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, run_job
from irt_analytics.settings import Settings
from irt_analytics.simulate import Plan, write_database

CHAIN = tuple(JOBS)
PARAMS = RunParams(learner_pages="none")
FIRST_DAY, NEXT_DAY = date(2026, 1, 28), date(2026, 1, 29)
COHORT = Plan(as_of=NEXT_DAY, learners=150, items=60, topics=6, weeks=10)

#: Columns that tell when and by which run a row was written, not what was found.
CLOCK_COLUMNS = {"created_at", "job_run_id"}
#: Settings of a machine without R: the jobs that need it end as skips. tests/r runs the chain with R.
WITHOUT_R = {f"r_{name}_unavailable": "this machine has no R" for name in ("irt", "glmm", "forecast", "brms")}
#: What only R computes.
TABLES_OF_R = {"growth_learner", "prophet_anomalies", "prophet_forecast", "survival_risk"}

#: What the jobs are given; everything else they write.
GIVEN = {"attempt_log", "question", "learner_goal"}


def load_cohort(settings: Settings, *, tenant: str = "default", seed: int = COHORT.seed) -> None:
    """Write the cohort as a tenant's log."""
    with db.connect(settings) as connection:
        write_database(connection, replace(COHORT, seed=seed), tenant)
        connection.commit()


def run(settings: Settings, job: str, as_of: date, *, tenant: str = "default") -> int:
    """Run one job in this process and return its exit code."""
    module: Job = importlib.import_module(f"irt_analytics.jobs.{job}").JOB
    return run_job(module, tenant=tenant, as_of=as_of, params=PARAMS, settings=settings)


def run_chain(settings: Settings, as_of: date, *, tenant: str = "default") -> None:
    """Run every job of a day, each to its good end."""
    for job in CHAIN:
        assert run(settings, job, as_of, tenant=tenant) == 0, f"{job} of {as_of} failed"


def contents(settings: Settings, *, up_to: date = date.max, tenant: str = "default") -> dict[str, str]:
    """A digest of what each table says of a tenant's days up to one, whatever the order of its rows."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        found = {}
        for table, columns in _tables(connection).items():
            shown = [sql.Identifier("t", column) for column in columns if column not in CLOCK_COLUMNS]
            of_day: sql.Composable = sql.SQL("true")
            if "as_of" in columns:
                of_day = sql.SQL("t.as_of <= {}").format(sql.Literal(min(up_to, date(9999, 1, 1))))
            elif "run_id" in columns:
                of_day = sql.SQL(
                    "exists (select from mirt_fit_meta fit where fit.run_id = t.run_id and fit.as_of <= {})"
                ).format(sql.Literal(min(up_to, date(9999, 1, 1))))
            query = sql.SQL(
                "select row({})::text as shown from {} as t where t.tenant_id = {} and {} order by 1"
            ).format(sql.SQL(", ").join(shown), sql.Identifier(table), sql.Literal(tenant), of_day)
            digest, rows = hashlib.sha256(), 0
            with connection.cursor(name="rows") as cursor:
                for (row,) in cursor.execute(query):
                    digest.update(row.encode() + b"\n")
                    rows += 1
            found[table] = f"{rows} rows {digest.hexdigest()[:16]}"
        return found


def _tables(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Columns of every table that jobs write, apart from the bookkeeping."""
    rows = connection.execute(
        """
        select class.relname, array_agg(attribute.attname::text order by attribute.attnum)
        from pg_class as class
        join pg_attribute as attribute on attribute.attrelid = class.oid and attnum > 0 and not attisdropped
        where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
        group by class.relname
        having 'tenant_id' = any(array_agg(attribute.attname::text))
        order by class.relname
        """
    )
    return {table: columns for table, columns in rows if table not in GIVEN | {"job_run"}}


@contextmanager
def copy_of(server_url: str, database: str, copy: str) -> Iterator[str]:
    """A copy of a database that nobody is connected to, dropped at the end; gives its URL."""
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(copy), sql.Identifier(database)
            )
        )
        yield server_url.replace("/postgres?", f"/{copy}?")
        server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(copy)))
