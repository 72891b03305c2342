"""Statements by file name, and reading their results."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
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

from irt_analytics.db.connection import TEMPORARY, connection_fields, describe, session_statements, unconnected
from irt_analytics.errors import TemporaryError
from irt_analytics.settings import Settings

SQL_ROOT = Path(__file__).parents[2] / "sql"

#: Batches of a query's part that are read before they are asked for.
BATCHES_AHEAD = 3

_Batch = Future[pa.RecordBatch | None]

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
        TemporaryError: the database cannot be reached, or goes away meanwhile; names host, port and database.
    """
    with _connected(settings) as query:
        query.result(query.begin(query.cursor.execute, _with_literals(sql(name), params)))
        return query.result(query.begin(query.cursor.fetch_arrow_table))


@contextmanager
def reading(
    settings: Settings,
    name: str,
    /,
    *,
    parts: Sequence[Mapping[str, Any]] = ({},),
    each: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch,
    **params: Any,
) -> Iterator[list[Iterator[pa.RecordBatch]]]:
    """Run a query as `read_arrow` does; gives the rows of every part of it in batches of some 16 MB, in their order.

    The query begins at once, and batches are read ahead of those that are taken, `BATCHES_AHEAD` at most. There is a
    batch of every part, if an empty one, also where there is no row. For results that need not fit into memory. The
    query holds its snapshot until the block ends.

    Args:
        settings: the database's.
        name: of the query.
        parts: parameters of the query by part. All parts see the same snapshot and run at once, each on a connection
            of its own and as one process of the database.
        each: makes of every batch what is given, in the part's own thread.
        params: parameters that all parts have in common.

    Raises:
        TemporaryError: the database cannot be reached, or goes away meanwhile; names host, port and database.
    """
    with ExitStack() as stack:
        queries = [stack.enter_context(_connected(settings)) for _ in parts]
        if len(parts) > 1:
            _share_snapshot(queries)
        pending: list[deque[_Batch]] = []
        for query, part in zip(queries, parts, strict=True):
            statement = _with_literals(sql(name), {**params, **part})
            pending.append(deque([query.begin(query.first_batch, each, statement)]))
            stack.callback(_cancel, pending[-1])  # before the connection ends, and with it what its thread is at
            pending[-1].extend(query.begin(query.next_batch, each) for _ in range(BATCHES_AHEAD - 1))
        yield [_batches(query, own, pending, each) for query, own in zip(queries, pending, strict=True)]


def _batches(
    query: "_Query",
    own: deque[_Batch],
    of_all: list[deque[_Batch]],
    each: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    while True:
        _wait_for(query, own[0], of_all)
        if query.result(own[0]) is None:
            return
        own.append(query.begin(query.next_batch, each))
        yield own.popleft().result()  # kept by who takes it, not here


def _wait_for(query: "_Query", batch: _Batch, of_all: list[deque[_Batch]]) -> None:
    """Wait for a batch, or raise the error of another part: it is heard now, not when this part's rows are there."""
    futures = [future for pending in of_all for future in pending]
    while not batch.done():
        wait([batch, *(future for future in futures if not future.done())], return_when=FIRST_COMPLETED)
        for future in futures:
            if future.done() and future.exception() is not None:
                query.result(future)


def _cancel(pending: deque[_Batch]) -> None:
    for future in pending:
        future.cancel()


class _Query:
    """A cursor of a connection of its own, and a thread in which its driver may block.

    In the main thread the driver would keep Python from hearing SIGTERM until the query ends.
    """

    def __init__(self, cursor: adbc_driver_postgresql.dbapi.Cursor, thread: ThreadPoolExecutor, database: str) -> None:
        self.cursor = cursor
        self._thread = thread
        self._database = database
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def begin(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Let the driver do a call in its thread."""
        return self._thread.submit(call, *arguments)

    def result(self, future: Future[Any]) -> Any:
        """Return what a call of the driver returns, or hear a signal meanwhile."""
        try:
            return future.result()
        except adbc_driver_manager.Error as error:
            if _is_temporary(error):
                raise TemporaryError(f"database {self._database}: {' '.join(str(error).split())}") from None
            raise

    def cancel(self) -> None:
        """End the call that the driver is in, if it is in one."""
        after_it = self._thread.submit(lambda: None)
        wait([after_it], timeout=0.01)
        while not after_it.done():
            with suppress(adbc_driver_manager.Error):  # it ends with its connection, too
                self.cursor.adbc_cancel()
            wait([after_it], timeout=1.0)  # a query that the server had not yet got was not cancelled

    def first_batch(self, each: Callable[[pa.RecordBatch], pa.RecordBatch], statement: str) -> pa.RecordBatch:
        """Run a query and return what `each` makes of its first batch, an empty one where it has no row."""
        self.cursor.execute(statement)
        # The cursor's public reader raises a bare OSError; this one the driver's errors, which have an SQLSTATE.
        reader = self.cursor._results.reader
        self._batches = iter(reader)
        batch = self.next_batch(each)
        return each(pa.RecordBatch.from_pylist([], schema=reader.schema)) if batch is None else batch

    def next_batch(self, each: Callable[[pa.RecordBatch], pa.RecordBatch]) -> pa.RecordBatch | None:
        """The same of its next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else each(batch)


def _share_snapshot(queries: Sequence[_Query]) -> None:
    """Let all queries see what the first one sees."""
    first, *others = queries

    def execute(query: _Query, statement: str) -> None:
        query.result(query.begin(query.cursor.execute, statement))

    for query in queries:
        execute(query, "set max_parallel_workers_per_gather = 0")
        execute(query, "begin isolation level repeatable read read only")
    execute(first, "select pg_export_snapshot() as name")
    (name,) = first.result(first.begin(first.cursor.fetchone))
    for query in others:
        execute(query, f"set transaction snapshot {composed.Literal(name).as_string(None)}")


def _is_temporary(error: adbc_driver_manager.Error) -> bool:
    """Whether psycopg would have raised one of `TEMPORARY`. Without an SQLSTATE it is libpq that lost the server."""
    if error.sqlstate is None:
        return isinstance(error, adbc_driver_manager.OperationalError)
    try:
        return issubclass(psycopg.errors.lookup(error.sqlstate), TEMPORARY)
    except KeyError:
        return False


@contextmanager
def _connected(settings: Settings) -> Iterator[_Query]:
    """A connection of its own for a query of include/sql."""
    uri, database = make_conninfo(**connection_fields(settings)), describe(settings)
    try:
        connection = adbc_driver_postgresql.dbapi.connect(uri, autocommit=True)
    except adbc_driver_manager.OperationalError as error:
        raise unconnected(settings, error) from None
    with connection, connection.cursor() as cursor, ThreadPoolExecutor(1) as thread:
        query = _Query(cursor, thread, database)
        try:
            # A tenant that the last analyze has not seen looks like a few rows, which the planner joins one by one.
            for setting in (*session_statements(), "set enable_nestloop = off"):
                query.result(query.begin(cursor.execute, setting))
            yield query
        finally:  # after a signal, where nobody takes the rest or another part failed: do not wait for it
            query.cancel()


def _with_literals(statement: str, params: Mapping[str, Any]) -> str:
    """Bind parameters as quoted literals, for the COPY protocol takes no parameters."""

    def literal(match: re.Match[str]) -> str:
        name = match["name"]
        return "%" if name is None else composed.Literal(params[name]).as_string(None)

    replace: Callable[[re.Match[str]], str] = literal
    return _PLACEHOLDER.sub(replace, statement)
