"""Parent of one job in the process runtime; run as a program with nothing but the standard library.

    python -I supervise.py LIFELINE GRACE_SECONDS COMMAND...

LIFELINE is the read end of a pipe whose write end only the task process holds. When it closes, because the task was
killed, timed out or died in any other way, the whole process group gets SIGTERM and, GRACE_SECONDS later, SIGKILL.
The exit code is the command's, or 128 + n where signal n ended it. Should this program itself be killed, the kernel
kills the command.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_supervisor() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_group_when_closed(lifeline: int, grace: float, closed: threading.Event, ended: threading.Event) -> None:
    os.read(lifeline, 1)
    closed.set()
    os.killpg(0, signal.SIGTERM)
    ended.wait(grace)
    os.killpg(0, signal.SIGKILL)


def supervise(lifeline: int, grace: float, command: list[str]) -> int:
    """Run `command` as a child of this process and return its exit code."""
    # A handler rather than SIG_IGN, which the command would inherit.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: None)
    # preexec_fn is safe here: this process has no other thread yet.
    job = subprocess.Popen(command, preexec_fn=_die_with_supervisor if sys.platform == "linux" else None)
    closed, ended = threading.Event(), threading.Event()
    watcher = threading.Thread(target=_end_group_when_closed, args=(lifeline, grace, closed, ended), daemon=True)
    watcher.start()
    code = job.wait()
    ended.set()
    if closed.is_set():
        watcher.join()  # it ends what the job left behind, and this process with it
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
