"""The database: connections, statements by file name, bulk reading and writing, partitions, migrations."""

from irt_analytics.db.bulk import Writer, copy_batches, copy_frame, replace, writing
from irt_analytics.db.connection import TEMPORARY, connect, describe
from irt_analytics.db.migrations import migrate
from irt_analytics.db.partitions import ensure_partitions
from irt_analytics.db.statements import SQL_ROOT, execute, read_arrow, read_frame, reading, sql
from irt_analytics.db.statistics import analyze_written

__all__ = [
    "SQL_ROOT",
    "TEMPORARY",
    "Writer",
    "analyze_written",
    "connect",
    "copy_batches",
    "copy_frame",
    "describe",
    "ensure_partitions",
    "execute",
    "migrate",
    "read_arrow",
    "read_frame",
    "reading",
    "replace",
    "sql",
    "writing",
]
