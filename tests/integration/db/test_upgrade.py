"""From the schema before the newest migration to the newest: while jobs run, and back by the code alone."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from tests.databases import settings_of
from tests.integration.db.test_verify import AS_OF, write_sound_run
from tests.integration.runner_jobs import TENANT

from irt_analytics import db
from irt_analytics.db.migrations import MIGRATIONS
from irt_analytics.db.sources import define_attempt_view
from irt_analytics.jobs import prepare_schema
from irt_analytics.params import RunParams
from irt_analytics.runner import run_job
from irt_analytics.settings import Settings

*BEFORE, NEWEST = sorted(MIGRATIONS.glob("*.sql"))
#: Columns of tables and views, with their types, and whether a row can do without.
COLUMNS = """
    select table_name, column_name, data_type, column_default is not null or is_nullable = 'YES' or is_identity = 'YES'
    from information_schema.columns
    where table_schema = 'public' and table_name not like '%yoyo%'
"""
#: Columns that a statement may set.
OWN_COLUMNS = """
    select table_name, array_agg(column_name::text order by ordinal_position)
    from information_schema.columns
    join information_schema.tables using (table_schema, table_name)
    where table_schema = 'public' and table_type = 'BASE TABLE' and is_generated = 'NEVER' and is_identity = 'NO'
        and table_name not like '%yoyo%' and table_name not in (select relname from pg_class where relispartition)
    group by table_name
    order by table_name
"""

Rows = dict[str, list[Any]]


@pytest.fixture
def previous(empty_database_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a database as the last release left it: without the newest migration, with a sound run's rows."""
    with db.connect(settings_of(database_url)) as newest:
        write_sound_run(newest)
        filled = rows(newest)
    for path in BEFORE:
        shutil.copy(path, tmp_path)
    with db.connect(settings_of(empty_database_url)) as connection, monkeypatch.context() as patch:
        patch.setattr("irt_analytics.db.migrations.MIGRATIONS", tmp_path)
        assert db.migrate(connection) == [path.stem for path in BEFORE]
        define_attempt_view(connection, "flat")
        db.ensure_partitions(connection, [AS_OF])
        connection.execute("set local session_replication_role = replica")  # in any order
        for table, columns in connection.execute(OWN_COLUMNS).fetchall():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            insert = "insert into {table} ({names}) select {names} from {rows}"
            given = sql.SQL("jsonb_populate_recordset(null::{}, %s)").format(sql.Identifier(table))
            connection.execute(
                sql.SQL(insert).format(table=sql.Identifier(table), names=names, rows=given), (Jsonb(filled[table]),)
            )
        connection.commit()
    return empty_database_url


def rows(connection: psycopg.Connection[Any], tables: Rows | None = None) -> Rows:
    """All rows of every table; of the columns that `tables` has, where given."""
    found: Rows = {}
    for table, columns in connection.execute(OWN_COLUMNS).fetchall():
        query = sql.SQL("select to_jsonb(t) from {} as t order by to_jsonb(t)::text").format(sql.Identifier(table))
        kept = columns if tables is None else list(tables.get(table, [{}])[0] if tables.get(table) else [])
        found[table] = [{name: row[name] for name in kept} for (row,) in connection.execute(query)]
    return found


@contextmanager
def process(url: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | {"DATABASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def await_waiting(url: str) -> None:
    """Wait until a session of the database waits for another one's lock."""
    query = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        give_up = time.monotonic() + 60
        while connection.execute(query).fetchone() is None:
            assert time.monotonic() < give_up, "prepare_schema waits for nobody"
            time.sleep(0.05)


def applied(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("select migration_id from _yoyo_migration")}


def test_upgrade_waits_for_the_jobs_that_run_and_loses_no_row(previous: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new release's first run begins while a job of the old one has not committed."""
    with psycopg.connect(previous) as connection:
        before = rows(connection)
    assert sum(map(bool, before.values())) > 10, "the tables are not filled"
    settings = settings_of(previous)
    with process(previous, "tests.integration.runner_jobs", "in_use") as job:
        assert job.stdin is not None
        assert job.stdout is not None
        assert job.stdout.readline() == "written\n"
        with monkeypatch.context() as patch:
            patch.setattr(prepare_schema, "LOCK_TIMEOUT", "500ms")
            assert migrate_by_job(settings) == 75, "for a retry of its task"
        assert NEWEST.stem not in applied(previous)
        with process(previous, "irt_analytics", "prepare_schema", "--as-of", AS_OF.isoformat()) as upgrade:
            await_waiting(previous)
            job.stdin.write("\n")
            job.stdin.flush()
            assert job.wait(timeout=60) == 0
            _, log = upgrade.communicate(timeout=120)
            assert upgrade.returncode == 0, log
    assert NEWEST.stem in applied(previous)
    with psycopg.connect(previous) as connection:
        after = rows(connection, before)
        written = connection.execute("select count(*) from question where tenant_id = %s", (TENANT,)).fetchone()
        ended = connection.execute("select job, status, exit_code from job_run where as_of <> %s", (AS_OF,)).fetchall()
    assert written == (3,)
    assert ("toy", "success", 0) in ended
    for table in before.keys() - {"job_run"}:
        lost = [row for row in before[table] if row not in after[table]]
        assert not lost, (table, lost)


def migrate_by_job(settings: Settings) -> int:
    return run_job(prepare_schema.JOB, tenant="default", as_of=AS_OF, params=RunParams(), settings=settings)


def test_newest_migration_leaves_all_that_the_code_before_it_reads_and_writes(previous: str) -> None:
    """A roll-back is of images only; were a column gone or demanded, it would need a restore of the database."""
    with psycopg.connect(previous) as connection:
        before = connection.execute(COLUMNS).fetchall()
    assert migrate_by_job(settings_of(previous)) == 0
    with psycopg.connect(previous) as connection:
        after = connection.execute(COLUMNS).fetchall()
    types = {(table, column): kind for table, column, kind, _ in after}
    changed = {(table, column): kind for table, column, kind, _ in before if types.get((table, column)) != kind}
    assert not changed
    known, tables = {(table, column) for table, column, *_ in before}, {table for table, *_ in before}
    demanded = [
        (table, column)
        for table, column, _, optional in after
        if table in tables and (table, column) not in known and not optional
    ]
    assert not demanded
