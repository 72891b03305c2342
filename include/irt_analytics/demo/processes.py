"""Processes that outlive the command that started them, each in a session of its own and found again by its record."""

import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
STOP_SECONDS = 2.0
LOG_LINES = 15


@dataclass(frozen=True)
class Started:
    """A process that was started here; its creation time tells it from a later process of the same id."""

    name: str
    pid: int
    created: float
    port: int

    def process(self) -> psutil.Process | None:
        """The process, if it still runs."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def spawn(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> tuple[int, float]:
    """Start a process in a session of its own, its output in a log; return its id and creation time."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid, psutil.Process(process.pid).create_time()


def end(started: Iterable[Started]) -> None:
    """End processes with all that they started: SIGTERM, and after a while SIGKILL to the whole tree."""
    ending = [process for one in started if (process := one.process()) is not None]
    trees = {process.pid: [process, *process.children(recursive=True)] for process in ending}
    for process in ending:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    psutil.wait_procs(ending, timeout=STOP_SECONDS)
    left = [process for tree in trees.values() for process in tree if process.is_running()]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
