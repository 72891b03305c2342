"""The process runtime: a job as a child of the task process, with the pod's exit codes, log and kill behaviour."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any, Protocol

from irt_airflow.exit_codes import TAIL_LINES, raise_for_exit_code
from irt_airflow.spec import JobSpec

#: How the names of Airflow's own variables begin; they may hold credentials.
AIRFLOW_S_OWN = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_")
SUPERVISOR = Path(__file__).with_name("supervise.py")
#: Seconds from SIGTERM to SIGKILL. Airflow kills a task process 5 s after its SIGTERM; the job must be gone by then.
GRACE_SECONDS = 3.5


class Logger(Protocol):
    """The part of a logger that is used here."""

    def info(self, event: Any, *args: Any, **kw: Any) -> Any:
        """Log one line."""


class ProcessRuntime:
    """Runs a job as a child process in a session of its own; nothing of it outlives the task process."""

    def __init__(self, spec: JobSpec, log: Logger) -> None:
        self._spec = spec
        self._log = log
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._read_end, self._write_end = os.pipe()
        self._killed = False

    def run(self) -> None:
        """Run the job to its end.

        Raises:
            AirflowException: by exit code, see `exit_codes`; AirflowFailException where a retry is pointless.
        """
        exit_code = self._wait()
        raise_for_exit_code(self._spec.job, exit_code, self._tail)

    def kill(self) -> None:
        """Let SIGTERM reach the whole process group now, and SIGKILL after `GRACE_SECONDS`.

        Safe inside a signal handler: it only closes the pipe that keeps the supervisor waiting.
        """
        if not self._killed:
            self._killed = True
            os.close(self._write_end)

    def _wait(self) -> int:
        command = [sys.executable, "-I", str(SUPERVISOR), str(self._read_end), str(GRACE_SECONDS), *self._command()]
        supervisor = subprocess.Popen(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
            pass_fds=(self._read_end,),
        )
        os.close(self._read_end)
        assert supervisor.stdout is not None
        relay = threading.Thread(target=self._relay, args=(supervisor.stdout,), name=f"log of {self._spec.job}")
        relay.start()
        try:
            _await_exit(supervisor.pid)
        except BaseException:  # the task's timeout, or Ctrl-C
            self.kill()
            _await_exit(supervisor.pid)
            raise
        finally:
            # The supervisor is dead but not reaped, so its group's number cannot have gone to anybody else.
            os.killpg(supervisor.pid, signal.SIGKILL)
            code = supervisor.wait()
            relay.join()
            supervisor.stdout.close()
            self.kill()
        return code if code >= 0 else 128 - code

    def _command(self) -> tuple[str, ...]:
        program, *arguments = self._spec.command
        return (sys.executable if program == "python" else program, *arguments)

    def _environment(self) -> dict[str, str]:
        """The worker's variables without Airflow's own, which hold credentials the job has no business with."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(AIRFLOW_S_OWN)}
        return {**inherited, "PYTHONUNBUFFERED": "1", **self._spec.environment, **self._spec.credentials}

    def _relay(self, output: IO[str]) -> None:
        for raw in output:
            line = raw.rstrip()
            if line:
                self._tail.append(line)
                self._log.info("%s", line)


def _await_exit(pid: int) -> None:
    """Wait for the end of child `pid` and leave it unreaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
