"""Runs one job: lock, transaction, bookkeeping, and the exit code that tells Airflow what happened."""

import json
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from types import FrameType
from typing import Any, ClassVar, Literal, NoReturn

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from irt_analytics import code_version, db
from irt_analytics.errors import ConfigurationError, PipelineError, RefusedError, Skip, TemporaryError, Terminated
from irt_analytics.params import RunParams
from irt_analytics.settings import Settings

EXIT_DEFECT = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job's module-level description; `lock` says which runs of it exclude each other."""

    name: str
    run: Callable[["JobContext"], None]
    lock: Literal["database", "tenant", "day"] = "day"


@dataclass(frozen=True)
class Shard:
    """Learners that a process works on for a job: those in its share of 1,024 hash buckets."""

    number: int
    of: int

    BUCKETS: ClassVar[int] = 1024

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Take a text such as 2/4 apart.

        Raises:
            ConfigurationError: it is not one; shows it.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= cls.BUCKETS):
            raise ConfigurationError(f"--shard={text!r}: expected the second of four as 2/4, of {cls.BUCKETS} at most")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def buckets(self) -> tuple[int, int]:
        """First and last of its buckets."""
        return (self.number - 1) * self.BUCKETS // self.of, self.number * self.BUCKETS // self.of - 1


@dataclass
class JobRecord:
    """What the job's job_run row will say it read, wrote and left out."""

    rows_read: dict[str, int] = field(default_factory=dict)
    rows_written: dict[str, int] = field(default_factory=dict)
    exclusions: list[dict[str, Any]] = field(default_factory=list)

    def read(self, name: str, rows: int) -> None:
        """Count `rows` more rows read from the relation `name`."""
        self.rows_read[name] = self.rows_read.get(name, 0) + rows

    def wrote(self, table: str, rows: int) -> None:
        """Count `rows` more rows written to `table`."""
        self.rows_written[table] = self.rows_written.get(table, 0) + rows

    def exclude(self, reason: str, count: int, detail: str = "") -> None:
        """Record that `count` units were left out, and why; a count of zero is not recorded."""
        if count:
            self.exclusions.append({"reason": reason, "count": int(count), "detail": detail})
            logger.info("left out: %s %s%s", f"{count:,}", reason, f" ({detail})" if detail else "")


@dataclass(frozen=True)
class JobContext:
    """All that a job is given. The runner commits `connection` after the job's `run` returns."""

    tenant: str
    as_of: date
    params: RunParams
    settings: Settings
    connection: psycopg.Connection[Any]
    record: JobRecord
    job_run_id: int | None
    job: str = ""
    shard: Shard | None = None

    def begin_sharing(self, table: str) -> None:
        """End the reading, and begin the transaction that writes rows of the day which other jobs write, too.

        The branches run at the same time, and each sets columns of its own in the same rows of `table`. On the
        snapshot that a job reads from, the one that comes second would fail. Here it waits for the first to commit
        and sees its rows. Temporary tables made until now are gone; nothing may have been written.
        """
        self.connection.rollback()
        self.connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self.lock_rows(table)

    def lock_rows(self, table: str) -> None:
        """Wait for other jobs that write to the day's rows of `table`, and let them wait for this transaction."""
        key = f"irt_analytics/{table}/{self.tenant}/{self.as_of}"
        self.connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))


def run_job(
    job: Job,
    *,
    tenant: str,
    as_of: date,
    params: RunParams,
    settings: Settings,
    dry_run: bool = False,
    shard: Shard | None = None,
) -> int:
    """Run `job` for one tenant and day and return the process exit code.

    0 done and committed (or a recorded skip), 64 bad configuration or input, 65 refused to publish, 75 temporary,
    143 terminated, 1 a defect (its trace is logged).
    """
    started = time.monotonic()
    try:
        with _terminable(), db.connect(settings, autocommit=True) as books, locked(books, job, tenant, as_of, shard):
            run = _Bookkeeping(books, job, tenant, as_of, params, settings, dry_run, shard)
            run.open()
            if shard is not None and not dry_run:
                key = {"tenant_id": tenant, "job": job.name, "as_of": as_of, "shard": shard.number}
                db.execute(books, "parts/forget", **key)
            return _run_locked(job, run, tenant, as_of, params, settings, dry_run, shard)
    except Terminated:
        logger.error("terminated; nothing of this run was written")
        return Terminated.exit_code
    except PipelineError as error:
        logger.error("%s", error)
        return error.exit_code
    except db.TEMPORARY as error:
        logger.error("database: %s", error)
        return TemporaryError.exit_code
    finally:
        logger.info("%s ended after %.1f s", job.name, time.monotonic() - started)


def _run_locked(
    job: Job,
    run: "_Bookkeeping",
    tenant: str,
    as_of: date,
    params: RunParams,
    settings: Settings,
    dry_run: bool,
    shard: Shard | None,
) -> int:
    record = run.record
    try:
        with db.connect(settings) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            try:
                job.run(
                    JobContext(tenant, as_of, params, settings, connection, record, run.job_run_id, job.name, shard)
                )
            except (RefusedError, Skip) as ended:
                if ended.keep_writes and not dry_run:
                    # what is kept, and the row that says why, are there together or not at all
                    run.close(**_end(ended), connection=connection)
                    connection.commit()
                raise
            if sum(record.rows_read.values()) and not sum(record.rows_written.values()):
                raise RefusedError(f"{job.name} read {record.rows_read} and would write no row")
            if dry_run:
                connection.rollback()
                print(json.dumps({"would_write": record.rows_written, "exclusions": record.exclusions}))  # noqa: T201
            else:
                db.analyze_written(connection)
                run.close("success", 0, connection=connection)
                connection.commit()
    except Skip as skip:
        logger.warning("%s skipped: %s", job.name, skip)
        run.close(**_end(skip))
    except Terminated:
        run.close_if_reachable("failed", Terminated.exit_code, error="terminated by SIGTERM")
        raise
    except PipelineError as error:
        run.close_if_reachable(**_end(error))
        raise
    except db.TEMPORARY as error:
        run.close_if_reachable("failed", TemporaryError.exit_code, error=str(error))
        raise
    except Exception as error:
        logger.exception("%s: a defect", job.name)
        run.close_if_reachable("failed", EXIT_DEFECT, error=f"{type(error).__name__}: {error}")
        return EXIT_DEFECT
    return 0


def _end(reason: Skip | PipelineError) -> dict[str, Any]:
    """What job_run says of a run that a skip or an error ended."""
    if isinstance(reason, Skip):
        return {"status": "skipped", "exit_code": 0, "reason": str(reason)}
    return {"status": "failed", "exit_code": reason.exit_code, "error": str(reason)}


class _Bookkeeping:
    """The job_run row of one run, written through a connection apart from the job's transaction."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        job: Job,
        tenant: str,
        as_of: date,
        params: RunParams,
        settings: Settings,
        dry_run: bool,
        shard: Shard | None,
    ) -> None:
        self.record = JobRecord()
        self.job_run_id: int | None = None
        self._connection = connection
        self._dry_run = dry_run
        self._migrates = job.lock == "database"
        self._started = time.monotonic()
        self._opening = {
            "tenant_id": tenant,
            "job": job.name,
            "as_of": as_of,
            "dag_run_id": settings.dag_run_id,
            "try_number": settings.try_number,
            "code_version": code_version(),
            "parameters": Jsonb(params.model_dump() | ({} if shard is None else {"shard": str(shard)})),
            "shard": None if shard is None else str(shard),
        }

    def open(self) -> None:
        """Write the row as running, and mark what a killed predecessor left running as lost."""
        if self._dry_run:
            return
        try:
            db.execute(self._connection, "job_run/mark_lost", **self._opening)
            row = self._connection.execute(db.sql("job_run/open"), self._opening).fetchone()
        except psycopg.errors.UndefinedTable:
            if self._migrates:
                return  # the table comes with the migration; the row is written when the job ends
            raise ConfigurationError(
                "the database has no table job_run: run `python -m irt_analytics prepare_schema` first"
            ) from None
        assert row is not None
        self.job_run_id = row[0]

    def close(
        self,
        status: str,
        exit_code: int,
        *,
        reason: str | None = None,
        error: str | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        """Complete the row, in the job's own transaction where `connection` is given."""
        if self._dry_run:
            return
        connection = connection or self._connection
        closing = {
            "status": status,
            "reason": reason,
            "exit_code": exit_code,
            "error": error,
            "rows_read": Jsonb(self.record.rows_read),
            "rows_written": Jsonb(self.record.rows_written),
            "exclusions": Jsonb(self.record.exclusions),
            "duration_s": time.monotonic() - self._started,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        if self.job_run_id is None:
            row = connection.execute(db.sql("job_run/open"), self._opening).fetchone()
            assert row is not None
            self.job_run_id = row[0]
        db.execute(connection, "job_run/close", job_run_id=self.job_run_id, **closing)

    def close_if_reachable(self, status: str, exit_code: int, *, error: str) -> None:
        """Complete the row after a failure that may have taken the database away; then the log is the record."""
        try:
            self.close(status, exit_code, error=error)
        except psycopg.Error as lost:
            logger.warning("job_run could not be completed: %s", lost)


@contextmanager
def locked(
    connection: psycopg.Connection[Any], job: Job, tenant: str, as_of: date, shard: Shard | None = None
) -> Iterator[None]:
    """Hold the job's session lock during the block; raises TemporaryError where another run has it.

    Shards of a job share its lock, which keeps the job itself away, and each has one of its own.
    """
    key = {"database": job.name, "tenant": f"{job.name}/{tenant}", "day": f"{job.name}/{tenant}/{as_of}"}[job.lock]
    wanted = [(key, "pg_try_advisory_lock")]
    if shard is not None:
        wanted = [(key, "pg_try_advisory_lock_shared"), (f"{key}/shard {shard.number}", "pg_try_advisory_lock")]
    for name, function in wanted:
        row = connection.execute(
            sql.SQL("select {}(hashtextextended(%s, 0))").format(sql.Identifier(function)), (f"irt_analytics/{name}",)
        ).fetchone()
        if row is None or not row[0]:
            raise TemporaryError(f"another run of {name} is under way; it holds the advisory lock of this job")
    try:
        yield
    finally:
        # The lock ends with its session, but a little after this process says so: too late for a run right behind.
        with suppress(psycopg.Error):
            connection.execute("select pg_advisory_unlock_all()")


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into Terminated inside the block, so that the transaction rolls back on the way out."""

    def terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: do not interrupt the roll-back
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def configure_logging() -> None:
    """Send log lines to standard error: time, level, message."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a poll otherwise
