"""Bring the database to the newest schema and define the view attempt of this customer's tables."""

from datetime import timedelta

from irt_analytics import db
from irt_analytics.db.sources import define_attempt_view
from irt_analytics.errors import ConfigurationError
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.runner import Job, JobContext

#: A reader in another transaction may hold the view for a while; longer than this is for a retry.
LOCK_TIMEOUT = "60s"
#: Oldest major version of PostgreSQL that its makers still mend (November 2026).
OLDEST_SERVER = 15


def run(context: JobContext) -> None:
    """Migrate, define the view, make the partitions of this day's jobs, and delete what shards left behind."""
    connection = context.connection
    server = connection.info.server_version // 10_000
    if server < OLDEST_SERVER:
        raise ConfigurationError(
            f"DATABASE_URL (connection seedtest_db): the server is PostgreSQL {server}, "
            f"expected {OLDEST_SERVER} or newer: upgrade it"
        )
    connection.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    context.record.wrote("_yoyo_migration", len(db.migrate(connection)))
    db.execute(connection, "parts/forget_old")
    define_attempt_view(connection, context.settings.attempt_source)
    db.ensure_partitions(connection, [context.as_of - timedelta(weeks=weeks) for weeks in range(HISTORY_WEEKS + 1)])


JOB = Job(name="prepare_schema", run=run, lock="database")
