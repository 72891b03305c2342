"""The schema's migrations: plain SQL files, applied once each, in the caller's transaction."""

import logging
from typing import Any

import psycopg
from yoyo import internalmigrations, read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend

from irt_analytics.db.statements import SQL_ROOT

MIGRATIONS = SQL_ROOT / "migrations"

logger = logging.getLogger(__name__)
logging.getLogger("yoyo.migrations").setLevel(logging.WARNING)  # it has a line for every statement


class _InTransaction(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's PostgreSQL backend on a connection that is in a transaction already.

    Every step becomes a savepoint of it and a migration's mark commits together with its statements: a killed run
    leaves neither a half-applied migration nor yoyo's lock row behind. Runs exclude each other by advisory lock.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._given = connection
        super().__init__(None, "_yoyo_migration")
        self._in_transaction = True

    def connect(self, dburi: None) -> psycopg.Connection[Any]:  # noqa: ARG002 - yoyo's signature
        return self._given

    def list_tables(self, **_kwargs: Any) -> list[str]:
        rows = self._given.execute("select tablename from pg_tables where schemaname = current_schema()")
        return [row[0] for row in rows]


def migrate(connection: psycopg.Connection[Any]) -> list[str]:
    """Apply the migrations that the database lacks, in the connection's transaction, and return their names.

    The caller commits, and holds a lock that keeps other migrating runs away.

    Raises:
        ValueError: a migration says `-- transactional: false`, which would end the caller's transaction.
    """
    connection.execute("select 1")  # opens the transaction
    backend = _InTransaction(connection)
    if internalmigrations.needs_upgrading(backend):
        internalmigrations.upgrade(backend)
    pending = list(backend.to_apply(read_migrations(str(MIGRATIONS))))
    for migration in pending:
        migration.load()
        if not migration.use_transactions:
            raise ValueError(f"migration {migration.id}: expected statements that can run in a transaction")
        logger.info("migration %s", migration.id)
        migration.process_steps(backend, "apply")
        backend.mark_one(migration, log=False)  # its log asks for the user's name, which a pod's uid has not
    return [migration.id for migration in pending]
