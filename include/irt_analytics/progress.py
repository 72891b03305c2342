"""Progress of long work: a bar on a terminal, a line every few seconds in a log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LOG_EVERY_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """What work under way reports to."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units as done; `note` is shown beside the count."""


class _Bar:
    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._progress = progress
        self._label = label
        self._task = progress.add_task(label, total=total)

    def advance(self, n: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=n, description=f"{self._label} {note}".rstrip())


class _Lines:
    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._done = 0
        self._last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= LOG_EVERY_SECONDS:
            self._last = now
            of = f" of {self._total}" if self._total is not None else ""
            logger.info("%s: %d%s %s", self._label, self._done, of, note)


@contextmanager
def track(label: str, total: int | None = None) -> Iterator[Tracker]:
    """Show the progress of a piece of work of `total` units (None: unknown) while the block runs."""
    if not sys.stderr.isatty():
        yield _Lines(label, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, label, total)
