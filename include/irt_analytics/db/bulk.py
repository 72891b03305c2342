"""Bulk writing by binary COPY."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
import pgpq
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql

from irt_analytics.db.partitions import ensure_partitions
from irt_analytics.db.statements import ARROW_TYPES

BATCH_ROWS = 65_536
#: Frames that wait to be written beside the one that is being written, while the next ones are made.
FRAMES_AHEAD = 3
CANCEL_SECONDS = 5.0

#: Appends the rows of a frame to a table.
Writer = Callable[[str, pd.DataFrame], None]


def copy_frame(connection: psycopg.Connection[Any], table: str, frame: pd.DataFrame) -> int:
    """Append the rows of a DataFrame to a table by binary COPY, columns by name, and return their number.

    Columns of the table that the frame lacks get their defaults. NaN, NaT, None and NA become null. Values of a jsonb
    column are Python objects, or texts that are JSON already.

    Raises:
        ValueError: the table lacks a column of the frame, or a value does not fit the column's type; names the column.
    """
    columns = _columns(connection, table)
    unknown = [name for name in frame.columns if name not in columns]
    if unknown:
        raise ValueError(f"table {table} has no column {', '.join(map(repr, unknown))}; it has {', '.join(columns)}")
    types = {name: columns[name] for name in frame.columns}
    arrays = []
    for name, (type_name, is_array) in types.items():
        try:
            arrays.append(_to_arrow(frame[name], type_name, is_array))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(f"{table}.{name} is {type_name}: {error}") from error
    batch = pa.table(arrays, names=list(types))
    return copy_batches(connection, table, batch.to_batches(max_chunksize=BATCH_ROWS))


@contextmanager
def writing(connection: psycopg.Connection[Any]) -> Iterator[Writer]:
    """Give a function that appends frames to tables as `copy_frame` does, while the caller goes on with the next ones.

    Within the block the connection is the function's alone. It waits where `FRAMES_AHEAD` frames are pending beside the
    one that is being written; the block ends when all are written, or with the first error.
    """
    pending: deque[Future[int]] = deque()
    with ThreadPoolExecutor(1) as thread:

        def write(table: str, frame: pd.DataFrame) -> None:
            while len(pending) > FRAMES_AHEAD:
                pending.popleft().result()
            pending.append(thread.submit(copy_frame, connection, table, frame))

        try:
            yield write
            while pending:
                pending.popleft().result()
        except BaseException:  # a signal, or another frame failed: do not wait for the rest
            for future in pending:
                future.cancel()
            after_it = thread.submit(lambda: None)
            while not after_it.done():  # a frame whose COPY the server had not yet got was not cancelled
                with suppress(psycopg.Error):  # it may be the connection that failed
                    connection.cancel_safe(timeout=CANCEL_SECONDS)
                wait([after_it], timeout=1.0)
            raise


def copy_batches(connection: psycopg.Connection[Any], table: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Append Arrow record batches to a table by binary COPY, columns by name, and return the number of rows.

    The batches' types must be those of the table's columns (`ARROW_TYPES`); a jsonb column takes strings.
    """
    columns = _columns(connection, table)
    rows = 0
    stream: Iterator[pa.RecordBatch] = iter(batches)
    first = next(stream, None)
    if first is None:
        return 0
    encoders = {}
    for field in first.schema:
        encoder = pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)
        if columns[field.name][0] == "jsonb":
            encoder = StringEncoderBuilder.new_with_output(field, Jsonb())
        encoders[field.name] = encoder
    binary = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(first.schema, encoders)
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, first.schema.names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(binary.write_header())
        batch: pa.RecordBatch | None = first
        while batch is not None:
            copy.write(binary.write_batch(batch))
            rows += batch.num_rows
            batch = next(stream, None)
        copy.write(binary.finish())
    return rows


def replace(connection: psycopg.Connection[Any], table: str, frame: pd.DataFrame, **key: Any) -> int:
    """Replace the rows of a table that have the key given by those of a DataFrame, and return their number.

    Key columns that the frame lacks are filled with the key's values. Partitions are created as the rows need them.

    Raises:
        ValueError: a row of the frame lies outside the key, or as `copy_frame`.
    """
    for name, value in key.items():
        if name in frame.columns and not (frame[name] == value).all():
            raise ValueError(
                f"{table}.{name}: every row must have the key {value!r} that is replaced, some have another"
            )
    frame = frame.assign(**{name: value for name, value in key.items() if name not in frame.columns})
    condition = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in key.items()
    )
    connection.execute(sql.SQL("delete from {} where {}").format(sql.Identifier(table), condition))
    partitioned_by = _partition_column(connection, table)
    if partitioned_by is not None:
        ensure_partitions(connection, pd.to_datetime(frame[partitioned_by].drop_duplicates()).dt.date)
    return copy_frame(connection, table, frame)


def _columns(connection: psycopg.Connection[Any], table: str) -> dict[str, tuple[str, bool]]:
    """Name of each column's type (an array's element type) and whether it is an array."""
    rows = connection.execute(
        """
        select attribute.attname, coalesce(element.typname, type.typname), element.typname is not null
        from pg_attribute as attribute
        join pg_type as type on type.oid = attribute.atttypid
        left join pg_type as element on element.oid = type.typelem and type.typcategory = 'A'
        where attribute.attrelid = %s::regclass and attribute.attnum > 0 and not attribute.attisdropped
        order by attribute.attnum
        """,
        (sql.Identifier(table).as_string(connection),),
    ).fetchall()
    return {name: (type_name, is_array) for name, type_name, is_array in rows}


def _partition_column(connection: psycopg.Connection[Any], table: str) -> str | None:
    row = connection.execute(
        """
        select attribute.attname
        from pg_partitioned_table as partitioned
        join pg_attribute as attribute
            on attribute.attrelid = partitioned.partrelid and attribute.attnum = partitioned.partattrs[0]
        where partitioned.partrelid = %s::regclass
        """,
        (sql.Identifier(table).as_string(connection),),
    ).fetchone()
    return None if row is None else str(row[0])


def _to_arrow(series: "pd.Series[Any]", type_name: str, is_array: bool) -> pa.Array | pa.ChunkedArray:
    if type_name == "jsonb":
        return pa.array([_json(value) for value in series], type=pa.string())
    target = ARROW_TYPES[type_name]
    if is_array:
        return pa.array(series, type=pa.list_(target), from_pandas=True)
    array = pa.array(series, from_pandas=True)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_timestamp(target) and pa.types.is_timestamp(array.type) and array.type.tz is None:
        raise TypeError("times have no zone")
    if pa.types.is_floating(array.type):
        # An Arrow-backed column may hold NaN beside null; PostgreSQL would store it as a number above all others.
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    if pa.types.is_timestamp(target):
        return array.cast(target, safe=False)  # PostgreSQL keeps microseconds
    return array.cast(target)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _json(value: Any) -> str | None:
    if _is_missing(value):
        return None
    return value if isinstance(value, str) else json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What json cannot write itself: numpy's numbers and arrays, and dates."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.isoformat()
