"""Check what a run wrote: read-only queries that each give the rows that should not be there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import psycopg

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, RefusedError

#: Offending rows that a failed check shows.
ROWS_SHOWN = 5

_HEADER = re.compile(r"^-- (check|expects): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        expects: what it expects, in words.
        offending: number of rows that should not be there.
        examples: up to `ROWS_SHOWN` of them, by column.
    """

    check: str
    expects: str
    offending: int
    examples: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        if not self.offending:
            return f"ok      {self.check}"
        lines = [f"FAILED  {self.check}: expects {self.expects}; {self.offending:,} rows do not agree:"]
        lines += ["          " + ", ".join(f"{name} {value}" for name, value in row.items()) for row in self.examples]
        return "\n".join(lines)


def verify(connection: psycopg.Connection[Any], *, tenant: str, as_of: date) -> Iterator[Finding]:
    """Run every check of include/sql/checks/run on what the run of a tenant and day wrote.

    Raises:
        ConfigurationError: the database has not the schema that the checks read.
    """
    for path in sorted((db.SQL_ROOT / "checks" / "run").glob("*.sql")):
        try:
            yield _run(connection, path, {"tenant_id": tenant, "as_of": as_of})
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
            raise ConfigurationError(
                "the database has not the schema of this version: run `python -m irt_analytics prepare_schema` first"
            ) from None


def _run(connection: psycopg.Connection[Any], path: Path, params: dict[str, Any]) -> Finding:
    statement = path.read_text(encoding="utf-8")
    header = dict(_HEADER.findall(statement))
    limited = f"select count(*) over (), found.* from (\n{statement}\n) as found limit {ROWS_SHOWN}"  # noqa: S608
    cursor = connection.execute(limited.encode(), params)
    assert cursor.description is not None
    names = [column.name for column in cursor.description[1:]]
    rows = cursor.fetchall()
    return Finding(
        check=header["check"],
        expects=header["expects"],
        offending=rows[0][0] if rows else 0,
        examples=tuple(dict(zip(names, row[1:], strict=True)) for row in rows),
    )


@click.command("verify", help="Check what a run wrote: ranges, references, sums that must agree.")
@click.option("--as-of", required=True, metavar="YYYY-MM-DD", help="day of the run")
@click.option("--tenant", default="default", show_default=True, help="whose run")
def command(as_of: str, tenant: str) -> None:
    """Command line of `verify`: a line a check; exit code 65 where one fails."""
    from irt_analytics.cli import parse_day
    from irt_analytics.settings import load_settings

    day = parse_day(as_of)
    findings = []
    with db.connect(load_settings()) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # one snapshot for all checks
        for finding in verify(connection, tenant=tenant, as_of=day):
            click.echo(str(finding))
            findings.append(finding)
    failed = sum(1 for finding in findings if finding.offending)
    if failed:
        raise RefusedError(f"{failed} of {len(findings)} checks of tenant {tenant!r}, as_of {day}, failed")
    click.echo(f"{len(findings)} checks passed")
