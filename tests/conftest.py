"""An embedded PostgreSQL for the tests that need one, and a freshly migrated database for each of them."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.databases import database_of, settings_of

from irt_analytics import db
from irt_analytics.db.sources import define_attempt_view
from irt_analytics.demo.postgres import get_server
from irt_analytics.settings import Settings


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the maintenance database of a server that lives as long as the test session."""
    folder = Path(tempfile.mkdtemp(prefix="irt-test-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # A test's database need not outlive a power cut.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """Name of a database with the newest schema and the flat log's attempt view."""
    name = "migrated"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    with db.connect(settings_of(database_of(postgres_url, name))) as connection:
        db.migrate(connection)
        define_attempt_view(connection, "flat")
    return name


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """URL of a database without any table, dropped after the test."""
    yield from _database(postgres_url, template="template0")


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database without rows, dropped after the test."""
    yield from _database(postgres_url, template=template_database)


def _database(server_url: str, *, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        yield database_of(server_url, name)
        server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def guarded_role(postgres_url: str) -> tuple[str, str]:
    """Name and password of a role that the server asks for its password; it lets all others in."""
    name, password = "guarded", "the-right-one"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(sql.SQL("create role {} login superuser password {}").format(sql.Identifier(name), password))
        row = server.execute("show hba_file").fetchone()
        assert row is not None
        hba = Path(row[0])
        hba.write_text(f"local all {name} scram-sha-256\n{hba.read_text()}")
        server.execute("select pg_reload_conf()")
    return name, password


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings of a job that works on the test's database."""
    return settings_of(database_url)


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A job's connection to the test's database: a transaction is open, committed only by the test."""
    with db.connect(settings) as opened:
        yield opened
        opened.rollback()


@pytest.fixture(scope="session")
def scratch_settings(postgres_url: str, template_database: str) -> Iterator[Settings]:
    """Settings for a migrated database that tests share and leave as they found it."""
    for url in _database(postgres_url, template=template_database):
        yield settings_of(url)


@pytest.fixture
def transaction(scratch_settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a migrated database whose transaction is rolled back; a commit inside it is an error.

    Cheaper than `connection`, for tests that need no second connection.
    """
    with db.connect(scratch_settings) as opened, opened.transaction(force_rollback=True):
        yield opened
