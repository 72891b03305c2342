"""Checks of the answer log before anything is computed from it."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from irt_airflow.credentials import find_connection

#: Comments go through the parameter binding too, so a percent sign in them is doubled.
_THRESHOLD = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<share>%%)?")
#: What is said of a connection that no retry will mend; the jobs (irt_analytics.db.connection) know the same words.
_WILL_NOT_MEND = re.compile(
    r'(password|peer|ident|certificate) authentication failed|role ".*" (does not exist|is not permitted to log in)'
    r'|database ".*" does not exist|permission denied for database|pg_hba\.conf|no password supplied',
    re.IGNORECASE,
)
_HEADER = re.compile(r"^--\s*(?P<key>check|expects|threshold):\s*(?P<value>.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class AttemptCheck:
    """One statement that counts the answers which break a rule.

    Attributes:
        name: the rule's name.
        expects: the rule as a sentence.
        threshold: offending rows that are tolerated, or their tolerated share of all rows where `is_share`.
        is_share: whether the threshold is a share (0..1).
        sql: returns one row (n bigint, total bigint, examples text[]) for the parameters tenant_id and as_of.
    """

    name: str
    expects: str
    threshold: float
    is_share: bool
    sql: str

    def tolerated(self, total: int) -> float:
        """Return how many offending rows out of `total` are tolerated."""
        return self.threshold * total if self.is_share else self.threshold


def read_checks(folder: Path) -> list[AttemptCheck]:
    """Read the checks of a folder in the order of their file names.

    Raises:
        ValueError: the folder holds none, or a file's header is incomplete; names the file and what is missing.
    """
    checks = [_read_check(path) for path in sorted(folder.glob("*.sql"))]
    if not checks:
        raise ValueError(f"{folder} holds no *.sql file: expected the checks of the answer log")
    return checks


def _read_check(path: Path) -> AttemptCheck:
    sql = path.read_text(encoding="utf-8")
    header = {match["key"]: match["value"] for match in _HEADER.finditer(sql)}
    missing = [key for key in ("check", "expects", "threshold") if not header.get(key)]
    if missing:
        raise ValueError(f"{path}: its header lacks {', '.join(f'`-- {key}:`' for key in missing)}")
    threshold = _THRESHOLD.fullmatch(header["threshold"])
    if threshold is None:
        raise ValueError(
            f"{path}: threshold {header['threshold']!r}: expected a number of rows, or a share such as 0.1%%"
        )
    is_share = threshold["share"] is not None
    number = float(threshold["number"])
    return AttemptCheck(header["check"], header["expects"], number / 100 if is_share else number, is_share, sql)


class CheckAttemptsOperator(BaseOperator):
    """Fail the run where the view `attempt` breaks more rules than tolerated; changes nothing.

    Every failing check is a line of the log with its count, its threshold and up to three examples.

    Args:
        folder: the SQL files of the checks.
        as_of: the day, templated.
        tenant: the tenant, templated.
        connection_id: the Airflow connection of the product's database.
    """

    template_fields: Sequence[str] = ("as_of", "tenant")

    def __init__(self, *, folder: Path, as_of: str, tenant: str, connection_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = str(folder)
        self.as_of = as_of
        self.tenant = tenant
        self.connection_id = connection_id
        self._connection: Any = None

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Run every check.

        Raises:
            AirflowFailException: a check found more offending rows than its threshold, or cannot be run at all, or the
                database refuses the connection's user, password or database.
            AirflowException: the database is away.
        """
        from psycopg import Error, OperationalError

        try:
            checks = read_checks(Path(self.folder))
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        try:
            failures = self._failures(checks)
        except OperationalError as error:
            reason = " ".join(str(error).split())
            if _WILL_NOT_MEND.search(reason):
                raise AirflowFailException(
                    f"connection {self.connection_id!r}: the database refuses it: {reason}"
                ) from None
            raise AirflowException(f"database of connection {self.connection_id!r}: {reason}") from None
        except Error as error:
            raise AirflowFailException(f"the checks cannot be run: {error}") from error
        if failures:
            raise AirflowFailException(
                f"{len(failures)} of {len(checks)} checks of the answer log failed: {', '.join(failures)}; "
                "see the log for counts and examples"
            )

    def on_kill(self) -> None:
        """Stop the statement that runs."""
        if self._connection is not None:
            self._connection.cancel_safe(timeout=2)

    def _failures(self, checks: Sequence[AttemptCheck]) -> list[str]:
        """Return the names of the checks that failed, all seen from one snapshot of the database."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        find_connection(self.connection_id)  # an error that names it, before the hook's own
        failures = []
        parameters = {"tenant_id": self.tenant, "as_of": self.as_of}
        with closing(PostgresHook(postgres_conn_id=self.connection_id).get_conn()) as connection:
            self._connection = connection
            with connection.cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read, read only")
                for check in checks:
                    cursor.execute(check.sql, parameters)
                    if not self._passes(check, **_only_row(cursor)):
                        failures.append(check.name)
        return failures

    def _passes(self, check: AttemptCheck, *, n: int, total: int, examples: Sequence[str]) -> bool:
        tolerated = check.tolerated(total)
        found = f"{check.name}: {n:,} of {total:,}, tolerated {tolerated:,.10g}"
        if n <= tolerated:
            self.log.info("%s", found)
            return True
        self.log.error("%s. Expected: %s. Examples: %s", found, check.expects, " | ".join(examples[:3]))
        return False


def _only_row(cursor: Any) -> dict[str, Any]:
    (row,) = cursor.fetchall()
    return dict(zip((column.name for column in cursor.description), row, strict=True))
