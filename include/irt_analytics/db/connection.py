"""Connections to the product's database."""

import os
import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10

#: A node or a database that vanishes says no goodbye: 60 s of silence and three questions unanswered, 10 s apart, end
#: the connection. Without them a wait lasts for hours.
KEEPALIVES = {"idle": 60, "interval": 10, "count": 3}
#: Settings of every session. The server keeps the same watch, so that what is left of a vanished pod lets its lock go
#: before the last retry, and it ends the query of a client that is gone.
SESSION = {
    "timezone": "UTC",
    **{f"tcp_keepalives_{name}": str(value) for name, value in KEEPALIVES.items()},
    "client_connection_check_interval": "10s",
}

#: What the database says when it is away, restarts, is too busy, or has become a replica since the connection began.
TEMPORARY = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)

# What is said of a connection that no retry will mend (SQLSTATE 28P01, 28000, 3D000, 42501, for which libpq has words
# only). check_attempts of irt_airflow knows the same words.
_WILL_NOT_MEND = re.compile(
    r'(password|peer|ident|certificate) authentication failed|role ".*" (does not exist|is not permitted to log in)'
    r'|database ".*" does not exist|permission denied for database|pg_hba\.conf|no password supplied',
    re.IGNORECASE,
)

# An unencoded "@" or "/" in the password makes libpq take the rest of it for host, port or database.
_SPILT_PASSWORD = re.compile(r"[^ ]@")  # a host may begin with "@": an abstract socket
_PORTS = re.compile(r"[\d,]*")


def connection_fields(settings: Settings) -> dict[str, Any]:
    """Split DATABASE_URL into libpq's connection fields.

    Raises:
        ConfigurationError: DATABASE_URL is neither a PostgreSQL URI nor a list of keyword=value pairs. The value is
            not shown, for it holds a password.
    """
    try:
        fields = conninfo_to_dict(settings.database_url.get_secret_value())
        if _SPILT_PASSWORD.search(" ".join(str(fields.get(name, "")) for name in ("host", "port", "dbname"))):
            raise psycopg.ProgrammingError
        if not _PORTS.fullmatch(str(fields.get("port", ""))):
            raise psycopg.ProgrammingError
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "DATABASE_URL cannot be read: expected postgresql://user:password@host:5432/database, "
            "with special characters of the password percent-encoded"
        ) from None
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "irt_analytics",
        **{f"keepalives_{name}": value for name, value in KEEPALIVES.items()},
        **fields,
    }


def session_statements() -> list[str]:
    """Return the statements that make a new session one of ours."""
    return [f"set {name} = '{value}'" for name, value in SESSION.items()]


def describe(settings: Settings) -> str:
    """Return where the database is, `host:port/database`, without user or password."""
    fields = connection_fields(settings)
    host = fields.get("host") or os.environ.get("PGHOST") or "local socket"
    port = fields.get("port") or os.environ.get("PGPORT") or 5432
    database = fields.get("dbname") or os.environ.get("PGDATABASE") or fields.get("user") or "default database"
    return f"{host}:{port}/{database}"


def connect(settings: Settings, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """Connect to the product's database; the session's time zone is UTC.

    Raises:
        TemporaryError: the database cannot be reached now; names host, port and database.
        ConfigurationError: DATABASE_URL is malformed, or the server refuses its user, password or database.
    """
    fields = connection_fields(settings)
    try:
        connection: psycopg.Connection[Any] = psycopg.connect(**fields, autocommit=True)
        connection.execute("; ".join(session_statements()).encode())
    except psycopg.OperationalError as error:
        raise unconnected(settings, error) from None
    connection.autocommit = autocommit
    return connection


def unconnected(settings: Settings, error: Exception) -> ConfigurationError | TemporaryError:
    """Return what a driver's error on connecting is to a job: refused for good, or away for now."""
    reason = " ".join(str(error).split())
    if _WILL_NOT_MEND.search(reason):
        return ConfigurationError(
            f"DATABASE_URL (connection seedtest_db): the database {describe(settings)} refuses it: {reason}"
        )
    return TemporaryError(f"database {describe(settings)} is unreachable: {reason}")
