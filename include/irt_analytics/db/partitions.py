"""Monthly partitions of the large tables."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import psycopg


def ensure_partitions(connection: psycopg.Connection[Any], dates: Iterable[date]) -> None:
    """Create the partitions that rows of these days need, in every partitioned table.

    Safe when two jobs call it at once: the second waits for the first one's transaction, and only where a partition
    is missing.
    """
    months = sorted({day.replace(day=1) for day in dates})
    connection.execute("select ensure_partitions(month) from unnest(%s::date[]) as month", (months,))
