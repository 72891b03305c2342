"""The chain of jobs on a small simulated cohort, and what each table then holds."""

import hashlib
import importlib
import itertools
from collections.abc import Iterable, Iterator
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
from irt_analytics.simulate import Plan, simulate_blocks, write_database
from irt_analytics.verify import verify

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

#: Ids that platforms allow and programs stumble over: SQL, formats of Python and C, COPY's and pandas' nulls and line
#: ends, numbers, Markdown, HTML and paths, right-to-left and combined letters, and pairs that differ by very little.
HOSTILE = (
    "'); drop table attempt_log; --",
    "학생 하나",
    "two\nlines",
    "🧑\u200d🎓",
    "\\N",
    "%(tenant_id)s",
    "\"; delete from weekly_kpi where ''='",
    "$$ or true",
    "%s{0}{tenant}",
    "\\.",
    "NULL",
    "nan",
    "None",
    "two\r\nlines\ttab",
    'a,b;"c"',
    "7",
    "07",
    "7.0",
    "1e3",
    "true",
    "{1,2}",
    "`*_|#[x](y)$z$",
    "<script>alert(1)</script>&amp;",
    "../../etc/passwd",
    "=1+1",
    " blank",
    "blank ",
    "blank",
    "Blank",
    "caf\u00e9",
    "cafe\u0301",
    "\u05d0\u200f",
    "x" * 300,
)

#: What the jobs are given, by the platform or by people; everything else they write.
GIVEN = {"attempt_log", "question", "learner_goal", "publishing_decision"}


def load_cohort(settings: Settings, *, tenant: str = "default", seed: int = COHORT.seed) -> None:
    """Write the cohort as a tenant's log."""
    with db.connect(settings) as connection:
        write_database(connection, replace(COHORT, seed=seed), tenant)
        connection.commit()


def hostile_names(ids: Iterable[str]) -> dict[str, str]:
    """A hostile name for each of the ids, in the same order."""
    plain = sorted(set(ids))
    names = (f"{name} {number}" if number else name for number in itertools.count() for name in HOSTILE)
    return dict(zip(plain, sorted(itertools.islice(names, len(plain))), strict=True))


def load_hostile_cohort(settings: Settings, tenant: str) -> dict[str, dict[str, str]]:
    """Write the cohort as a tenant's log under hostile names; gives the plain ids by name, for each column of ids."""
    (cohort,) = simulate_blocks(COHORT)
    learners = hostile_names(cohort.truth.learners["student_id"])
    names = {
        "student_id": learners,
        "user_id": learners,
        "item_id": hostile_names(cohort.questions["item_id"]),
        "topic_id": hostile_names(cohort.questions["topic_id"]),
    }
    frames = {"question": cohort.questions, "learner_goal": cohort.goals, "attempt_log": cohort.attempts}
    with db.connect(settings) as connection:
        for table, frame in frames.items():
            renamed = {column: frame[column].map(names[column]) for column in names if column in frame}
            db.copy_frame(connection, table, frame.assign(tenant_id=tenant, **renamed))
        connection.commit()
    return {column: {name: plain for plain, name in of_column.items()} for column, of_column in names.items()}


def offences(settings: Settings, as_of: date, *, tenant: str = "default") -> list[str]:
    """What `irt_analytics verify` says is wrong with a day."""
    with db.connect(settings) as connection:
        return [str(finding) for finding in verify(connection, tenant=tenant, as_of=as_of) if finding.offending]


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
