"""The answer logs that the demo runs on, each in a database of its own, and loaded only when it is new."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import SecretStr

from irt_analytics import db
from irt_analytics.demo.place import Place
from irt_analytics.demo.postgres import Postgres
from irt_analytics.errors import ConfigurationError, PipelineError
from irt_analytics.settings import Settings

TENANT = "default"
HASH_BYTES = 1 << 20


class LoadError(PipelineError):
    """The log could not be loaded; the command that loads it has said why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # the loading command's own


@dataclass(frozen=True)
class Dataset:
    """A log and the command that writes it into a database.

    Attributes:
        database: name of the database, the same for the same content.
        source: what a person calls it.
        fingerprint: changes with the content and how it is read.
        command: arguments of `python -m irt_analytics`.
    """

    database: str
    source: str
    fingerprint: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """First and last UTC day of a log, and its number of answers."""

    first: date
    last: date
    answers: int


def simulated(as_of: date) -> Dataset:
    """The simulated cohort that ends with `as_of`: 1,000 learners, 300 items in 20 topics, 26 weeks, a fixed seed."""
    simulator = Path(__file__).parents[1] / "simulate.py"
    return Dataset(
        database="irt_demo",
        source="a simulated cohort of 1,000 learners",
        fingerprint=f"{as_of} {hashlib.sha256(simulator.read_bytes()).hexdigest()}",
        command=("simulate", "--as-of", str(as_of), "--tenant", TENANT),
    )


def own_log(path: Path, columns: str) -> Dataset:
    """The log of a file, its columns mapped as `columns` says (empty: by their names).

    Raises:
        ConfigurationError: the file is not there or cannot be read.
    """
    if not path.is_file():
        there = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"DATA={path} {there}; expected an answer log: .csv, .csv.gz or .parquet")
    digest = hashlib.sha256(columns.encode())
    try:
        with path.open("rb") as file:
            while chunk := file.read(HASH_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ConfigurationError(f"DATA={path} cannot be read: {error.strerror}") from None
    slug = re.sub(r"[^a-z0-9]+", "_", path.name.split(".")[0].lower()).strip("_")[:40]
    mapping = ("--columns", columns) if columns else ()
    return Dataset(
        database=f"irt_{slug or 'log'}_{digest.hexdigest()[:8]}",
        source=str(path),
        fingerprint=digest.hexdigest(),
        command=("load", str(path), "--tenant", TENANT, *mapping),
    )


def provide(dataset: Dataset, postgres: Postgres, place: Place) -> tuple[Span, str]:
    """Load a dataset into its database unless it is there; return the days it spans, and what there is to say of it.

    Raises:
        LoadError: the log cannot be loaded.
        ConfigurationError: the log has no answers.
    """
    said = ""
    known = postgres.describe(dataset.database)
    if known is None or known["fingerprint"] != dataset.fingerprint:
        postgres.drop(dataset.database)
        postgres.create(dataset.database)
        try:
            _migrate(postgres.url(dataset.database))
            said = _load(dataset.command, postgres.url(dataset.database), place)
        except BaseException:
            postgres.drop(dataset.database)
            raise
        if dataset.command[0] == "simulate":
            said = ""  # of interest to who simulates, not to who tries the demo
        postgres.label(dataset.database, {"source": dataset.source, "fingerprint": dataset.fingerprint})
    span = _span(postgres, dataset.database)
    return span, said or f"{dataset.source}: {span.answers:,} answers, {span.first} to {span.last}"


def _span(postgres: Postgres, database: str) -> Span:
    """Return the days that the log of a database spans.

    Raises:
        ConfigurationError: it has no answers.
    """
    with postgres.connect(database) as connection:
        row = connection.execute(db.sql("demo/span"), {"tenant_id": TENANT}).fetchone()
    assert row is not None
    if not row[2]:
        raise ConfigurationError("the log has no answers")
    return Span(*row)


def _migrate(url: str) -> None:
    with db.connect(Settings(database_url=SecretStr(url))) as connection:
        db.migrate(connection)


def _load(command: Sequence[str], url: str, place: Place) -> str:
    """Run a loading command of this package on a database and return what it printed.

    On a terminal its progress shows; elsewhere it goes to a log.
    """
    log = place.folder / "logs" / f"{command[0]}.log"
    with log.open("w+", encoding="utf-8", errors="replace") as errors:
        ended = subprocess.run(
            [sys.executable, "-m", "irt_analytics", *command],
            env=os.environ | {"DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr.isatty() else errors,
            text=True,
            check=False,
        )
        errors.seek(0)
        lines = errors.read().splitlines()
    if not ended.returncode:
        return ended.stdout.rstrip()
    if sys.stderr.isatty():
        sys.exit(ended.returncode)  # it has said why
    said = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    if said is None:
        said = f"{command[0]} failed: {' '.join(lines[-1:])}\nIts log is {place.relative(log)}"
    raise LoadError(said.removeprefix("error: "), ended.returncode)
