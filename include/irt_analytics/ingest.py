"""Load a platform's answer log from a file into attempt_log, strictly: a value that is not understood ends the load."""

import csv
import difflib
import gzip
import io
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.progress import track
from irt_analytics.settings import Settings

#: Columns a log must have, and those that platforms may not record, with their Arrow types.
REQUIRED: dict[str, pa.DataType] = {
    "student_id": pa.string(),
    "item_id": pa.string(),
    "topic_id": pa.string(),
    "correct": pa.bool_(),
    "completed_at": pa.timestamp("us", tz="UTC"),
}
OPTIONAL: dict[str, pa.DataType] = {
    "started_at": pa.timestamp("us", tz="UTC"),
    "response_time_ms": pa.int32(),
    "hint_used": pa.bool_(),
    "hints": pa.int32(),
    "attempt_no": pa.int32(),
    "session_id": pa.string(),
    "timed_out": pa.bool_(),
}
CONTRACT = REQUIRED | OPTIONAL

#: Names that other logs use, for the suggestion in an error; nothing is renamed unasked.
OFTEN_CALLED: dict[str, tuple[str, ...]] = {
    "student_id": ("student", "user_id", "user", "learner_id", "learner", "anon_student_id"),
    "item_id": ("item", "question_id", "question", "problem_id", "problem", "problem_name"),
    "topic_id": ("topic", "skill_id", "skill", "concept_id", "concept", "kc", "unit"),
    "correct": ("is_correct", "is_right", "right", "outcome", "score"),
    "completed_at": ("answered_at", "submitted_at", "timestamp", "time", "created_at", "end_time"),
}

TRUE, FALSE = ("1", "true", "t"), ("0", "false", "f")
CLOCK_TOLERANCE = timedelta(minutes=5)
#: A job that reads the log may hold it for a while; after this the answers go in beside it, more slowly.
LOCK_TIMEOUT = "60s"
INDEX_MEMORY = "256MB"
#: Three ids of this length still fit into one index entry.
ID_BYTES = 800
CSV_BLOCK_BYTES = 8 << 20
PARQUET_BATCH_ROWS = 1 << 17

_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?$"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedLog:
    """What a load left in attempt_log for one tenant."""

    tenant: str
    answers: int
    learners: int
    items: int
    topics: int
    first_day: date
    last_day: date
    recorded: tuple[str, ...]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"loaded {self.answers:,} answers of {self.learners:,} learners to {self.items:,} items in "
            f"{self.topics:,} topics, {self.first_day} to {self.last_day} (UTC), as tenant {self.tenant!r}"
        ]
        unrecorded = [name for name in OPTIONAL if name not in self.recorded]
        if unrecorded:
            lines.append(f"not recorded in this log: {', '.join(unrecorded)}")
        if self.ignored:
            lines.append(f"columns not read: {', '.join(self.ignored)}")
        return "\n".join(lines)


def load_log(
    settings: Settings,
    path: Path,
    *,
    tenant: str = "default",
    columns: Mapping[str, str] | None = None,
    as_of: date | None = None,
) -> LoadedLog:
    """Replace a tenant's answers in attempt_log by those of a file, in one transaction, and add its items to question.

    Args:
        settings: where the database is.
        path: .csv, .csv.gz (comma-separated, UTF-8, with a header) or .parquet.
        tenant: whose answers they are.
        columns: the file's name of a column, by the contract's name, where they differ.
        as_of: the day the log is loaded for; a log that starts after it is refused.

    Raises:
        ConfigurationError: the file cannot be read or a value is not what the contract says; names column, row and
            line, value and what was expected. Nothing is loaded then.
        TemporaryError: the database is away, or another load of this tenant is under way.
    """
    log = _open(path, columns or {}, tenant)
    with db.connect(settings) as connection, track(f"loading {path.name}") as progress:

        def counted() -> Iterator[pa.RecordBatch]:
            for batch in log.batches():
                yield batch
                progress.advance(batch.num_rows)

        try:
            if not _lock(connection, tenant):
                raise TemporaryError(f"another load of tenant {tenant!r} is under way")
            indexes = _clear(connection, tenant)
            answers = db.copy_batches(connection, "attempt_log", counted())
            for definition in indexes:
                connection.execute(definition.encode())
        except psycopg.errors.UndefinedTable:
            raise ConfigurationError(
                "the database has no table attempt_log: run `python -m irt_analytics prepare_schema` first"
            ) from None
        except db.TEMPORARY as error:
            raise TemporaryError(f"loading {path}: {error}") from None
        if not answers:
            raise ConfigurationError(f"{path}: the log is empty: it has a header and no answer")
        _refuse_duplicates(connection, path, tenant)
        db.execute(connection, "ingest/questions", tenant_id=tenant)
        row = connection.execute(db.sql("ingest/summary"), {"tenant_id": tenant}).fetchone()
        assert row is not None
        learners, items, topics, first_day, last_day = row
        loaded = LoadedLog(tenant, answers, learners, items, topics, first_day, last_day, log.recorded, log.ignored)
        if as_of is not None and loaded.first_day > as_of:
            raise ConfigurationError(
                f"as_of {as_of} is before the first answer of {path}, {loaded.first_day}: "
                f"choose a day between {loaded.first_day} and {loaded.last_day}"
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("analyze attempt_log, question")
    return loaded


def parse_columns(text: str) -> dict[str, str]:
    """Parse "correct=is_right,student_id=user" into the file's name of a column by the contract's name.

    Raises:
        ConfigurationError: a part is not NAME=NAME, or its left side is no column of the contract.
    """
    mapping = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not equals or not theirs:
            raise ConfigurationError(f"COLUMNS: {part!r}: expected NAME=COLUMN, such as correct=is_right")
        if name not in CONTRACT:
            raise ConfigurationError(
                f"COLUMNS: {part!r}: {name!r} is no column of the contract; expected one of {', '.join(CONTRACT)}"
            )
        mapping[name] = theirs
    return mapping


class _Log:
    """A file opened for reading: which of its columns are read, and its rows as batches of the contract's types."""

    def __init__(self, path: Path, header: list[str], columns: Mapping[str, str], tenant: str) -> None:
        self.path = path
        self._tenant = tenant
        self._source = _choose_columns(path, header, columns)
        if "tenant_id" in header:
            self._source["tenant_id"] = "tenant_id"
        self.recorded = tuple(name for name in CONTRACT if name in self._source)
        self.ignored = tuple(name for name in header if name not in self._source.values())
        self._newest = datetime.now(UTC) + CLOCK_TOLERANCE

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Parse the file batch by batch."""
        rows = 0
        for raw in self._read(list(dict.fromkeys(self._source.values()))):
            yield self._parse(raw, rows)
            rows += raw.num_rows

    def _read(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def _place(self, row: int) -> str:
        return f"row {row + 1}"

    def _parse(self, raw: pa.RecordBatch, rows_before: int) -> pa.RecordBatch:
        def refuse(name: str, index: int, expected: str) -> NoReturn:
            value = raw.column(self._source[name])[index].as_py()
            column = name if self._source[name] == name else f"{name} (column {self._source[name]!r})"
            raise ConfigurationError(
                f"{self.path}, {self._place(rows_before + index)}: {column} = {value!r}: expected {expected}"
            )

        arrays = [pa.repeat(pa.scalar(self._tenant, pa.string()), raw.num_rows)]
        for name in self.recorded:
            column = raw.column(self._source[name])
            arrays.append(_convert(column, name, partial(refuse, name)))
        if "tenant_id" in self._source:
            index = _first(pc.not_equal(pc.cast(raw.column("tenant_id"), pa.string()), self._tenant))
            if index is not None:
                refuse("tenant_id", index, f"{self._tenant!r}, the tenant loaded (one file a tenant)")
        newest = arrays[1 + self.recorded.index("completed_at")]
        index = _first(pc.greater(newest, pa.scalar(self._newest, newest.type)))
        if index is not None:
            refuse("completed_at", index, "a time in the past")
        return pa.record_batch(arrays, names=["tenant_id", *self.recorded])


class _CsvLog(_Log):
    def _read(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from pacsv.open_csv(
                self.path,
                read_options=pacsv.ReadOptions(block_size=CSV_BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise ConfigurationError(
                f"{self.path} cannot be read as comma-separated UTF-8: {' '.join(str(error).split())}"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error}") from None

    def _place(self, row: int) -> str:
        with _open_text(self.path) as text:
            reader = csv.reader(text)
            for _ in itertools.islice((record for record in reader if record), row + 2):
                pass
            return f"row {row + 1} (line {reader.line_num})"


class _ParquetLog(_Log):
    def _read(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(PARQUET_BATCH_ROWS, columns=names)
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigurationError(f"{self.path} cannot be read as Parquet: {error}") from None


def _open(path: Path, columns: Mapping[str, str], tenant: str) -> _Log:
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    if path.suffix == ".parquet":
        try:
            header = pq.read_schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigurationError(f"{path} cannot be read as Parquet: {error}") from None
        return _ParquetLog(path, header, columns, tenant)
    if path.name.endswith((".csv", ".csv.gz")):
        return _CsvLog(path, _csv_header(path), columns, tenant)
    raise ConfigurationError(f"{path}: expected a file that ends in .csv, .csv.gz or .parquet")


def _open_text(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv_header(path: Path) -> list[str]:
    try:
        with _open_text(path) as text:
            header = next(csv.reader(text), None)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read as comma-separated UTF-8: {error}") from None
    if header is None:
        raise ConfigurationError(f"{path}: the file is empty: expected a header line with {', '.join(REQUIRED)}")
    if len(header) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
            if delimiter in header[0]:
                raise ConfigurationError(
                    f"{path}: the columns are separated by {name} ({header[0]!r}): expected commas"
                )
    return header


def _choose_columns(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The file's column for each column of the contract that it has."""
    for name, theirs in columns.items():
        if theirs not in header:
            raise ConfigurationError(
                f"COLUMNS: {name}={theirs}: {path} has no column {theirs!r}; it has {', '.join(header)}"
            )
    source = {name: columns.get(name, name) for name in CONTRACT if columns.get(name, name) in header}
    missing = [name for name in REQUIRED if name not in source]
    if missing:
        free = [name for name in header if name not in source.values()]
        suggestion = ",".join(f"{name}={_guess(name, free) or '...'}" for name in missing)
        raise ConfigurationError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(header)}. "
            f'Say which column is which: COLUMNS="{suggestion}"'
        )
    for theirs in source.values():
        if header.count(theirs) > 1:
            raise ConfigurationError(f"{path} has {header.count(theirs)} columns called {theirs!r}: expected one")
    return source


def _guess(name: str, candidates: list[str]) -> str | None:
    plain = {candidate.lower().replace(" ", "_"): candidate for candidate in candidates}
    for often in OFTEN_CALLED[name]:
        if often in plain:
            return plain[often]
    close = difflib.get_close_matches(name, plain, n=1)
    return plain[close[0]] if close else None


_Refuse = Callable[[int, str], NoReturn]


def _convert(column: pa.Array, name: str, refuse: _Refuse) -> pa.Array:
    """One raw column in the contract's type; calls `refuse(index, expected)` on the first value that does not fit."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    target = CONTRACT[name]
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type) and name not in REQUIRED:
        column = pc.if_else(pc.equal(column, ""), None, column)
    if pa.types.is_string(target):
        parsed = _ids(column, refuse)
    elif pa.types.is_boolean(target):
        parsed = _booleans(column, refuse)
    elif pa.types.is_timestamp(target):
        parsed = _times(column, refuse)
    else:
        parsed = _integers(column, refuse)
    if name in REQUIRED and parsed.null_count:
        refuse(_some(parsed.is_null()), "a value")
    return parsed


def _first(mask: pa.Array) -> int | None:
    """Index of the first true value, or None."""
    index: int = pc.index(pc.fill_null(mask, False), True).as_py()
    return None if index < 0 else index


def _some(mask: pa.Array) -> int:
    index = _first(mask)
    assert index is not None
    return index


def _refuse_where(mask: pa.Array, expected: str, refuse: _Refuse) -> None:
    index = _first(mask)
    if index is not None:
        refuse(index, expected)


def _ids(column: pa.Array, refuse: _Refuse) -> pa.Array:
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if not pa.types.is_string(column.type):
        refuse(0, f"texts or whole numbers, not {column.type}")
    _refuse_where(pc.equal(column, ""), "an id that is not empty", refuse)
    _refuse_where(pc.match_substring(column, "\0"), "an id without NUL characters", refuse)
    _refuse_where(pc.greater(pc.binary_length(column), ID_BYTES), f"an id of at most {ID_BYTES} bytes", refuse)
    return column


def _booleans(column: pa.Array, refuse: _Refuse) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return column
    expected = "0 or 1, true or false, t or f"
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        _refuse_where(pc.invert(pc.is_in(column, pa.array([0, 1, None], column.type))), expected, refuse)
        return column.cast(pa.bool_())
    if not pa.types.is_string(column.type):
        refuse(0, expected)
    lowered = pc.ascii_lower(column)
    _refuse_where(pc.invert(pc.is_in(lowered, pa.array([*TRUE, *FALSE, None], pa.string()))), expected, refuse)
    return pc.if_else(lowered.is_null(), None, pc.is_in(lowered, pa.array(TRUE)))


def _integers(column: pa.Array, refuse: _Refuse) -> pa.Array:
    expected = f"a whole number from 0 to {2**31 - 1}"
    if pa.types.is_string(column.type):
        _refuse_where(pc.invert(pc.match_substring_regex(column, r"^\d{1,15}(\.0*)?$")), expected, refuse)
        column = column.cast(pa.float64())
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        refuse(0, expected)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        _refuse_where(pc.not_equal(column, pc.floor(column)), expected, refuse)
    outside = pc.or_(pc.less(column, pa.scalar(0, column.type)), pc.greater(column.cast(pa.float64()), 2.0**31 - 1))
    _refuse_where(outside, expected, refuse)
    return column.cast(pa.int32())


def _times(column: pa.Array, refuse: _Refuse) -> pa.Array:
    zone = "a time with its zone, such as 2026-01-31T09:30:00Z or 2026-01-31 18:30:00+09:00"
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            refuse(0, f"{zone} (these have none; in pandas: `.dt.tz_localize(...)` with the platform's zone)")
        return column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    if not pa.types.is_string(column.type):
        refuse(0, zone)
    _refuse_where(
        pc.match_substring_regex(column, _TIME), f"{zone}; this one has none (append Z where times are UTC)", refuse
    )
    nanoseconds = pa.timestamp("ns", tz="UTC")
    try:
        parsed = column.cast(nanoseconds)
    except pa.ArrowInvalid:
        refuse(_first_failure(column, nanoseconds), zone)
    return parsed.cast(pa.timestamp("us", tz="UTC"), safe=False)


def _first_failure(column: pa.Array, target: pa.DataType) -> int:
    """Index of the first value that cannot be cast, by bisection of the prefix that can."""
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column.slice(good, middle - good).cast(target)
        except pa.ArrowInvalid:
            bad = middle
        else:
            good = middle
    return good


def _lock(connection: psycopg.Connection[Any], tenant: str) -> bool:
    row = connection.execute(
        "select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"irt_analytics/load/{tenant}",)
    ).fetchone()
    return row is not None and bool(row[0])


def _clear(connection: psycopg.Connection[Any], tenant: str) -> list[str]:
    """Remove a tenant's answers and return the statements that make the indexes removed with them.

    Indexes go where no other tenant's answers are there: made anew over a whole log they take a fraction of the time.
    """
    if not _hold_alone(connection, tenant):
        db.execute(connection, "ingest/clear", tenant_id=tenant)
        return []
    connection.execute("select set_config('maintenance_work_mem', %s, true)", (INDEX_MEMORY,))
    connection.execute("truncate attempt_log")
    indexes = connection.execute(db.sql("ingest/indexes")).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}".encode())
    return [definition for _, definition in indexes]


def _hold_alone(connection: psycopg.Connection[Any], tenant: str) -> bool:
    """Keep everybody else from the log and return True, unless it has answers of other tenants or stays busy.

    What is asked before the log is held says nothing of a load that is about to commit.
    """
    # Undone, so that no lock of the question is left: two loads would wait for each other.
    with connection.transaction(force_rollback=True):
        shared = _has_others(connection, tenant)
    if shared:
        return False
    try:
        with connection.transaction():
            connection.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            connection.execute("lock table attempt_log in access exclusive mode")
            shared = _has_others(connection, tenant)
            if shared:
                raise psycopg.Rollback
    except psycopg.errors.LockNotAvailable:
        return False
    return not shared


def _has_others(connection: psycopg.Connection[Any], tenant: str) -> bool:
    return connection.execute(db.sql("ingest/others"), {"tenant_id": tenant}).fetchone() == (True,)


def _refuse_duplicates(connection: psycopg.Connection[Any], path: Path, tenant: str) -> None:
    row = connection.execute(db.sql("ingest/duplicates"), {"tenant_id": tenant}).fetchone()
    assert row is not None
    count, examples = row
    if count:
        raise ConfigurationError(
            f"{path}: answers recorded more than once (same student_id, item_id and completed_at): {count:,}, "
            f"expected none. {'; '.join(examples)}"
        )


@click.command("load", help="Load an answer log (CSV, CSV.gz, Parquet) into attempt_log, in place of the tenant's.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--columns", default="", help='the file\'s column names where they differ: "correct=is_right,..."')
@click.option("--tenant", default="default", show_default=True, help="whose answers they are")
@click.option("--as-of", metavar="YYYY-MM-DD", help="refuse a log that starts after this day")
def command(log: Path, columns: str, tenant: str, as_of: str | None) -> None:
    """Command line of `load_log`."""
    from irt_analytics.cli import parse_day
    from irt_analytics.settings import load_settings

    loaded = load_log(
        load_settings(),
        log,
        tenant=tenant,
        columns=parse_columns(columns),
        as_of=parse_day(as_of) if as_of is not None else None,
    )
    click.echo(str(loaded))
