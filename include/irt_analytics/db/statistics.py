"""The planner's statistics of rows just written."""

from typing import Any

import psycopg
from psycopg import sql


def analyze_written(connection: psycopg.Connection[Any]) -> None:
    """Analyze the tables and partitions that this transaction has written to.

    The next statement or job reads them before autovacuum has looked at them; without statistics the planner takes
    them for nearly empty and joins row by row.
    """
    rows = connection.execute(
        """
        select schemaname, relname
        from pg_stat_xact_user_tables
        where
            n_tup_ins + n_tup_upd + n_tup_del > 0
            and relname <> 'job_part' -- found by its key alone, and other tenants' shards would wait
        order by schemaname, relname
        """
    ).fetchall()
    for schema, table in rows:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, table)))
