"""Shards of a job: what other processes compute for it, each for some learners, and how the job takes it.

A shard writes none of the job's tables. It keeps its rows as pieces of job_part, and the job, which runs after all
shards, puts them into its tables in the one transaction in which it would have written its own, and deletes them. So a
day is replaced whole or not at all, by whatever number of shards. What is not there in full, of this very Airflow run
and half a day, these parameters, this code, this published bank and these weeks, is not taken: the job then computes
all of it, the same numbers. A shard that starts again takes what it left before away first: should it fail, that is
not taken beside what the others have newly computed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from irt_analytics import code_version, db
from irt_analytics.runner import JobContext

#: Bytes of a piece, and the name of the piece that holds numbers for job_run.
PIECE_BYTES = 8 * 2**20
COUNTS = "counts"

logger = logging.getLogger(__name__)


def basis(context: JobContext, plan: str) -> str:
    """What a shard's numbers rest on beside the log; `shards` itself changes none of them.

    Args:
        context: the run's.
        plan: the published calibration, and what is due.
    """
    params = context.params.model_dump(exclude={"shards"})
    return hashlib.sha256(json.dumps([params, code_version(), plan], sort_keys=True).encode()).hexdigest()


def shadow(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Let statements of this transaction that name these tables find empty temporary ones instead."""
    for table in tables:
        connection.execute(
            sql.SQL("create temporary table {0} (like {0} including defaults) on commit drop").format(
                sql.Identifier(table)
            )
        )


def keep(
    context: JobContext, basis: str, tables: Mapping[str, sql.Composable | pd.DataFrame], counts: Mapping[str, int]
) -> None:
    """Keep tables by name, frames or the rows of queries, and counts, for the job to take.

    What the shard kept before is replaced.
    """
    shard, connection = context.shard, context.connection
    assert shard is not None
    key = {"tenant_id": context.tenant, "job": context.job, "as_of": context.as_of, "shard": shard.number}
    context.record.rows_written.clear()  # into tables that end with this transaction
    db.execute(connection, "parts/forget", **key)
    common = key | {"shards": shard.of, "dag_run_id": context.settings.dag_run_id, "basis": basis}
    for name, table in tables.items():
        columns, rows, pieces = _pack(table) if isinstance(table, pd.DataFrame) else _dump(connection, table)
        for number, content in enumerate(pieces):
            values = {"name": name, "piece": number, "columns": Jsonb(columns), "rows": rows, "content": content}
            db.execute(connection, "parts/keep", **common, **values)
        context.record.wrote("job_part", len(pieces))
    numbers = {"name": COUNTS, "piece": 0, "columns": Jsonb(dict(counts)), "rows": 0, "content": b""}
    db.execute(connection, "parts/keep", **common, **numbers)
    context.record.wrote("job_part", 1)


def _dump(connection: psycopg.Connection[Any], query: sql.Composable) -> tuple[list[list[str]], int, list[bytes]]:
    """Columns (name, type), number of rows, and pieces of the binary COPY stream of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("select * from ({}) as part limit 0").format(query))
        assert cursor.description is not None
        types = connection.execute(
            "select format_type(oid, null) from unnest(%s::oid[]) with ordinality as t (oid, place) order by place",
            ([column.type_code for column in cursor.description],),
        ).fetchall()
        columns = [[column.name, kind] for column, (kind,) in zip(cursor.description, types, strict=True)]
        pieces, room = [], bytearray()
        with cursor.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as copy:
            for block in copy:
                room += block
                if len(room) >= PIECE_BYTES:
                    pieces.append(bytes(room))
                    room.clear()
        pieces.append(bytes(room))
        return columns, cursor.rowcount, pieces


def _pack(frame: pd.DataFrame) -> tuple[list[list[str]], int, list[bytes]]:
    """The same of a frame, as an Arrow stream, which knows its columns."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_table(table)
    content = memoryview(sink.getvalue())
    pieces = [bytes(content[start : start + PIECE_BYTES]) for start in range(0, len(content), PIECE_BYTES)]
    return [], len(frame), pieces


def rows_of(table: str) -> sql.Composed:
    """The query of all rows of a table."""
    return sql.SQL("select * from {}").format(sql.Identifier(table))


@dataclass(frozen=True)
class Kept:
    """What all shards of a job left for it."""

    context: JobContext
    counts: Counter[str]
    tables: dict[str, list[list[str]]]
    shards: int

    def copy_into(self, table: str) -> int:
        """Append the rows of all shards to a table, and return their number."""
        statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
            sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(column) for column, _ in self.tables[table])
        )
        rows = 0
        for shard in range(1, self.shards + 1):
            # a COPY has the connection to itself, so a shard's pieces are read before
            pieces = list(self._pieces(shard, table))
            with self.context.connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for piece in pieces:
                        copy.write(piece)
                rows += cursor.rowcount
        return rows

    def frames(self, name: str) -> Iterator[pd.DataFrame]:
        """The frame of each shard."""
        for shard in range(1, self.shards + 1):
            yield pa.ipc.open_stream(b"".join(self._pieces(shard, name))).read_pandas()

    def _pieces(self, shard: int, name: str) -> Iterator[bytes]:
        key = {"tenant_id": self.context.tenant, "job": self.context.job, "as_of": self.context.as_of}
        number = 0
        while True:
            row = self.context.connection.execute(
                db.sql("parts/content"), key | {"shard": shard, "name": name, "piece": number}
            ).fetchone()
            if row is None:
                return
            yield row[0]
            number += 1


def take(context: JobContext, basis: str) -> Kept | None:
    """What the shards left for this run of the job, where all did; and let the transaction delete whatever any left."""
    shards = context.params.shards
    key = {"tenant_id": context.tenant, "job": context.job, "as_of": context.as_of}
    if shards == 1:
        db.execute(context.connection, "parts/forget", **key, shard=None)
        return None
    rows = context.connection.execute(
        db.sql("parts/kept"), key | {"shards": shards, "basis": basis, "dag_run_id": context.settings.dag_run_id}
    ).fetchall()
    if not rows:
        logger.info("no results of %d shards to take: computing all of them here", shards)
        db.execute(context.connection, "parts/forget", **key, shard=None)
        return None
    counts: Counter[str] = Counter()
    tables: dict[str, list[list[str]]] = {}
    for _, name, columns, _ in rows:
        if name == COUNTS:
            counts.update(columns)
        else:
            tables[name] = columns
    return Kept(context, counts, tables, shards)


def forget(context: JobContext) -> None:
    """Delete what the shards left, after it was taken."""
    key = {"tenant_id": context.tenant, "job": context.job, "as_of": context.as_of}
    db.execute(context.connection, "parts/forget", **key, shard=None)
