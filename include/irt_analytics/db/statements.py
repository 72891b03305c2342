"""Statements by file name, and reading their results."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pandas as pd
import psycopg
import pyarrow as pa
from psycopg import sql as composed
from psycopg.conninfo import make_conninfo

from irt_analytics.db.connection import connection_fields, describe
from irt_analytics.errors import TemporaryError
from irt_analytics.settings import Settings

SQL_ROOT = Path(__file__).parents[2] / "sql"

_PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\)s|%)")

#: Arrow types of PostgreSQL's result columns, by type name. numeric comes as float64: sums and averages of integers
#: are numeric in PostgreSQL, and everything here is analysed in doubles.
ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "numeric": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "interval": pa.duration("us"),
}


@cache
def sql(name: str) -> str:
    """Return the text of include/sql/<name>.sql."""
    return (SQL_ROOT / f"{name}.sql").read_text(encoding="utf-8")


def execute(connection: psycopg.Connection[Any], name: str, /, **params: Any) -> int:
    """Run the statement of include/sql/<name>.sql with bound parameters and return the number of rows it touched."""
    return connection.execute(sql(name), params).rowcount


def read_frame(connection: psycopg.Connection[Any], name: str, /, **params: Any) -> pd.DataFrame:
    """Run a query of include/sql in the connection's transaction and return its rows.

    For small and middle-sized results: the rows pass through Python objects.

    Returns:
        Arrow-backed columns (`pandas.ArrowDtype`) of the types in `ARROW_TYPES` and lists of them, null where SQL has
        null; columns of other types (jsonb) hold Python objects.
    """
    with connection.cursor(binary=True) as cursor:
        cursor.execute(sql(name), params)
        rows = cursor.fetchall()
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        types = [_arrow_type(connection, column.type_code) for column in cursor.description]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pd.DataFrame(
        {name: _series(column, arrow) for name, column, arrow in zip(names, values, types, strict=True)}, columns=names
    )


def _arrow_type(connection: psycopg.Connection[Any], oid: int) -> pa.DataType | None:
    info = connection.adapters.types.get(oid)
    if info is None or info.name not in ARROW_TYPES:
        return None
    element = ARROW_TYPES[info.name]
    return pa.list_(element) if oid == info.array_oid else element


def _series(values: tuple[Any, ...], arrow: pa.DataType | None) -> "pd.Series[Any]":
    if arrow is None:
        return pd.Series(list(values), dtype=object)
    if pa.types.is_floating(arrow):
        values = tuple(None if value is None else float(value) for value in values)
    return pd.Series(pd.array(pa.array(values, type=arrow), dtype=pd.ArrowDtype(arrow)))


def read_arrow(settings: Settings, name: str, /, **params: Any) -> pa.Table:
    """Run a query of include/sql on a connection of its own and return its rows as one Arrow table.

    For big results: columns arrive by binary COPY without passing through Python. The connection sees what is
    committed, not what the calling job has written in its own transaction.

    Raises:
        TemporaryError: the database cannot be reached; names host, port and database.
    """
    with _executed(settings, name, params) as cursor:
        return cursor.fetch_arrow_table()


def read_batches(settings: Settings, name: str, /, **params: Any) -> Iterator[pa.RecordBatch]:
    """Run a query as `read_arrow` does and give its rows in batches of some 16 MB, in their order, as they arrive.

    There is a batch, if an empty one, also where there is no row. For results that need not fit into memory. The query
    runs, and holds its snapshot, until the last batch is taken.

    Raises:
        TemporaryError: the database cannot be reached; names host, port and database.
    """
    with _executed(settings, name, params) as cursor:
        reader = cursor.fetch_record_batch()
        batch = pa.RecordBatch.from_pylist([], schema=reader.schema)
        for batch in reader:
            yield batch
        if not batch.num_rows:
            yield batch


@contextmanager
def _executed(
    settings: Settings, name: str, params: Mapping[str, Any]
) -> Iterator[adbc_driver_postgresql.dbapi.Cursor]:
    """A cursor of a connection of its own on which a query of include/sql runs."""
    uri = make_conninfo(**connection_fields(settings))
    try:
        connection = adbc_driver_postgresql.dbapi.connect(uri, autocommit=True)
    except adbc_driver_manager.OperationalError as error:
        reason = " ".join(str(error).split())
        raise TemporaryError(f"database {describe(settings)} is unreachable: {reason}") from None
    with connection, connection.cursor() as cursor:
        cursor.execute("set time zone 'UTC'")
        # A tenant that the last analyze has not seen looks like a handful of rows, which the planner joins one by one.
        cursor.execute("set enable_nestloop = off")
        cursor.execute(_with_literals(sql(name), params))
        yield cursor


def _with_literals(statement: str, params: Mapping[str, Any]) -> str:
    """Bind parameters as quoted literals, for the COPY protocol takes no parameters."""

    def literal(match: re.Match[str]) -> str:
        name = match["name"]
        return "%" if name is None else composed.Literal(params[name]).as_string(None)

    replace: Callable[[re.Match[str]], str] = literal
    return _PLACEHOLDER.sub(replace, statement)
