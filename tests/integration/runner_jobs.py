"""Small jobs for the tests of the runner; `python -m tests.integration.runner_jobs NAME` runs one as a process."""

import sys
import time
from datetime import date
from pathlib import Path

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, RefusedError, Skip, TemporaryError
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, JobContext, configure_logging, run_job
from irt_analytics.settings import load_settings

AS_OF = date(2026, 1, 31)
TENANT = "school"
ROWS = 3
SQL = Path(__file__).parent / "sql"


def write(context: JobContext, first: int = 0) -> None:
    """Replace this day's rows by three new ones, of ids that tell runs apart."""
    context.connection.execute("delete from question where tenant_id = %s", (context.tenant,))
    for number in range(first, first + ROWS):
        context.connection.execute("insert into question values (%s, %s, 'topic')", (context.tenant, f"item-{number}"))
    context.record.read("attempt", 10)
    context.record.wrote("question", ROWS)
    context.record.exclude("rapid answers", 2, "under a tenth of the median time")


def again(context: JobContext) -> None:
    """Write other rows than `write` does."""
    write(context, first=100)


def configuration(context: JobContext) -> None:
    """Fail on configuration after having written."""
    write(context, first=200)
    raise ConfigurationError("report_lang='xx': expected en or ko")


def refused(context: JobContext) -> None:
    """Refuse after having written."""
    write(context, first=200)
    raise RefusedError("3 items have 20 answers; a calibration needs 5")


def temporary(context: JobContext) -> None:
    """Fail for now after having written."""
    write(context, first=200)
    raise TemporaryError("service away")


def defect(context: JobContext) -> None:
    """Divide by zero after having written."""
    write(context, first=200)
    _ = 1 / (context.as_of.year - context.as_of.year)


def skip(context: JobContext) -> None:
    """Skip after having written."""
    write(context, first=200)
    raise Skip("4 learners; segments need 50")


def nothing(context: JobContext) -> None:
    """Read and write nothing."""
    context.record.read("attempt", 10)


def slow(context: JobContext) -> None:
    """Write, say so, and stay in Python until killed."""
    write(context, first=200)
    print("written", flush=True)  # noqa: T201
    time.sleep(60)


def in_use(context: JobContext) -> None:
    """Read every relation and write, say so, and end well once a line comes by standard input."""
    names = context.connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')"
    ).fetchall()
    for (name,) in names:
        context.connection.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(name)))
    write(context)
    print("written", flush=True)  # noqa: T201
    sys.stdin.readline()


def slow_query(context: JobContext) -> None:
    """Write, say so, and stay in a query until killed."""
    write(context, first=200)
    print("written", flush=True)  # noqa: T201
    context.connection.execute("select pg_sleep(60)")


def slow_read(context: JobContext) -> None:
    """Write, say so, and stay in a bulk read until killed."""
    write(context, first=200)
    print("written", flush=True)  # noqa: T201
    db.read_arrow(context.settings, str(SQL / "slow"))


def slow_batches(context: JobContext) -> None:
    """Write, read a batch, say so, and wait for the next one until killed."""
    write(context, first=200)
    with db.reading(context.settings, str(SQL / "slow_behind_a_batch")) as (batches,):
        next(batches)
        print("written", flush=True)  # noqa: T201
        next(batches)


def slow_parts(context: JobContext) -> None:
    """Write, say so, and stay in two parts of a query until killed."""
    write(context, first=200)
    print("written", flush=True)  # noqa: T201
    _read_parts(context, seconds=60, divisors=(1, 1))


def slow_writing(context: JobContext) -> None:
    """Write, say so, and wait for a frame that is being written meanwhile, until killed."""
    write(context, first=200)
    # the name is what tells the statement that waits
    context.connection.execute(
        'create temporary table "pg_sleep(60)" (id int check (id = 0 or pg_sleep(60) is not null))'
    )
    print("written", flush=True)  # noqa: T201
    with db.writing(context.connection) as write_frame:
        for number in range(2):
            write_frame("pg_sleep(60)", pd.DataFrame({"id": [number]}))


def broken_parts(context: JobContext) -> None:
    """Write, and divide by zero in one part of a query while the other one would go on for an hour."""
    write(context, first=200)
    _read_parts(context, seconds=3600, divisors=(1, 0))


def _read_parts(context: JobContext, seconds: int, divisors: tuple[int, ...]) -> None:
    parts = [{"part": str(number), "divisor": divisor} for number, divisor in enumerate(divisors)]
    with db.reading(context.settings, str(SQL / "part"), parts=parts, seconds=seconds) as of_parts:
        for batches in of_parts:
            list(batches)


def broken_batches(context: JobContext) -> None:
    """Write, read a batch, and divide by zero in the query's next one."""
    write(context, first=200)
    with db.reading(context.settings, str(SQL / "broken_behind_a_batch")) as (batches,):
        list(batches)


def replica(context: JobContext) -> None:
    """Write on a server that has become a replica."""
    context.connection.execute("set transaction read only")
    write(context, first=200)


def share(context: JobContext) -> None:
    """Read on the job's snapshot, let another job change the same row meanwhile, then set the other column of it."""
    context.connection.execute("select count(*) from question")
    with psycopg.connect(context.settings.database_url.get_secret_value()) as other:
        other.execute("update question set topic_id = 'of another branch' where tenant_id = %s", (context.tenant,))
    context.begin_sharing("question")
    query = "update question set meta = %s where tenant_id = %s"
    context.record.wrote("question", context.connection.execute(query, (Jsonb({"own": 1}), context.tenant)).rowcount)


JOBS = {
    function.__name__: function
    for function in (
        write,
        again,
        configuration,
        refused,
        temporary,
        defect,
        skip,
        nothing,
        slow,
        in_use,
        slow_query,
        slow_read,
        slow_batches,
        broken_batches,
        slow_parts,
        slow_writing,
        broken_parts,
        replica,
        share,
    )
}


if __name__ == "__main__":
    configure_logging()
    sys.exit(
        run_job(Job("toy", JOBS[sys.argv[1]]), tenant=TENANT, as_of=AS_OF, params=RunParams(), settings=load_settings())
    )
