"""The view attempt: a customer's answer log in the shape that every job reads, which is that of table attempt_log."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from irt_analytics.db.statements import SQL_ROOT
from irt_analytics.errors import ConfigurationError

SOURCES = SQL_ROOT / "sources"


def source_file(attempt_source: str) -> Path:
    """Return the SQL file of an ATTEMPT_SOURCE.

    Raises:
        ConfigurationError: it is neither a source that comes with the package nor a readable file.
    """
    ready = {path.stem: path for path in sorted(SOURCES.glob("*.sql"))}
    if attempt_source in ready:
        return ready[attempt_source]
    path = Path(attempt_source)
    if not path.is_file():
        raise ConfigurationError(
            f"ATTEMPT_SOURCE={attempt_source!r}: expected {', '.join(ready)}, or the path of an SQL file that exists"
        )
    return path


def define_attempt_view(connection: psycopg.Connection[Any], attempt_source: str) -> None:
    """Create or replace the view attempt from a source, in the connection's transaction.

    Raises:
        ConfigurationError: the source cannot be read, its tables or columns are missing, it is not one query, or its
            columns are not those of the contract; names the column, what was found and what was expected.
    """
    path = source_file(attempt_source)
    try:
        query = path.read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"ATTEMPT_SOURCE={attempt_source!r}: {path} cannot be read: {error}") from None
    try:
        _create_or_replace(connection, query)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise ConfigurationError(
            f"ATTEMPT_SOURCE={attempt_source!r} changes the columns of the view attempt, which other objects use: "
            f"{_words(error)}. Drop them first."
        ) from None
    except psycopg.errors.UndefinedTable as error:
        raise ConfigurationError(
            f"ATTEMPT_SOURCE={attempt_source!r} reads a table that this database lacks: {_words(error)}. "
            f"Create it as {path.name} describes, or choose another source (docs/data-contract.md)."
        ) from None
    except psycopg.errors.ProgrammingError as error:
        raise ConfigurationError(
            f"ATTEMPT_SOURCE={attempt_source!r}: {path.name} is not a query this database can run: {_words(error)}"
        ) from None
    contract = _columns(connection, "attempt_log")
    _check_contract(attempt_source, contract, _columns(connection, "attempt"))
    connection.execute("comment on view attempt is 'One row an answer; defined by ATTEMPT_SOURCE.'")
    for column, (_, meaning) in contract.items():
        connection.execute(
            sql.SQL("comment on column attempt.{} is {}").format(sql.Identifier(column), sql.Literal(meaning))
        )


def _create_or_replace(connection: psycopg.Connection[Any], query: str) -> None:
    statement = f"create or replace view attempt as\n{query}"
    try:
        with connection.transaction():
            connection.execute(statement.encode(), binary=True)  # by the protocol that takes one statement only
    except psycopg.errors.InvalidTableDefinition:
        with connection.transaction():
            connection.execute("drop view attempt")
            connection.execute(statement.encode(), binary=True)


def _columns(connection: psycopg.Connection[Any], relation: str) -> dict[str, tuple[str, str]]:
    """Type and comment of each column of a relation."""
    rows = connection.execute(
        """
        select attname, format_type(atttypid, null), col_description(attrelid, attnum)
        from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        order by attnum
        """,
        (relation,),
    )
    return {name: (type_name, meaning) for name, type_name, meaning in rows}


def _check_contract(
    attempt_source: str, contract: dict[str, tuple[str, str]], view: dict[str, tuple[str, str]]
) -> None:
    problems = []
    for column, (expected, _) in contract.items():
        found, _ = view.get(column, (None, ""))
        if found is None:
            problems.append(
                f"column {column} is missing, expected {expected} "
                f"(where the platform does not record it: `null::{expected} as {column}`)"
            )
        elif found != expected:
            problems.append(f"column {column} is {found}, expected {expected} (`{column}::{expected}`)")
    if problems:
        raise ConfigurationError(f"ATTEMPT_SOURCE={attempt_source!r}: " + "; ".join(problems))


def _words(error: psycopg.Error) -> str:
    parts = [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint]
    return " ".join(part for part in parts if part) or str(error)
