"""Jobs as child processes: the same exit codes, log and kill behaviour as a pod."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from irt_airflow.process import GRACE_SECONDS, ProcessRuntime
from irt_airflow.profiles import compute_profile
from irt_airflow.spec import JobSpec

#: Airflow's supervisor kills a task process this long after its SIGTERM.
SUPERVISOR_PATIENCE = 5.0


class Lines(logging.Handler):
    """A logger's lines, each with the moment it came."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((time.monotonic(), record.getMessage()))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def runtime(lines: Lines) -> Callable[..., ProcessRuntime]:
    log = logging.Logger("task", logging.INFO)
    log.addHandler(lines)

    def make(program: str, **credentials: str) -> ProcessRuntime:
        return ProcessRuntime(spec(program, **credentials), log)

    return make


def spec(program: str, **credentials: str) -> JobSpec:
    return JobSpec(
        task_id="job",
        job="job",
        command=("python", "-c", program),
        environment={"IRT_TRY_NUMBER": "2"},
        credentials=credentials,
        profile=compute_profile("small"),
        image=None,
        namespace="irt-jobs",
        time_limit=60,
    )


@pytest.mark.parametrize("code", [75, 137, 143])
def test_what_may_pass_by_itself_is_retried(runtime: Callable[..., ProcessRuntime], code: int) -> None:
    with pytest.raises(AirflowException, match=f"job ended with exit code {code}") as ended:
        runtime(f"raise SystemExit({code})").run()
    assert not isinstance(ended.value, AirflowFailException)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (64, "bad configuration or input"),
        (65, "refused to publish"),
        (1, "a defect"),
        (2, "a defect"),
        (139, "a defect"),
    ],
)
def test_what_would_end_the_same_way_is_not_retried(
    runtime: Callable[..., ProcessRuntime], code: int, meaning: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"exit code {code}, {meaning}"):
        runtime(f"raise SystemExit({code})").run()


@pytest.mark.parametrize(
    ("number", "retried"), [(signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGSEGV, False)]
)
def test_death_by_signal_counts_as_in_a_shell(
    runtime: Callable[..., ProcessRuntime], number: signal.Signals, retried: bool
) -> None:
    with pytest.raises(AirflowException, match=f"exit code {128 + number}") as ended:
        runtime(f"import os; os.kill(os.getpid(), {int(number)})").run()
    assert isinstance(ended.value, AirflowFailException) is not retried


def test_error_carries_the_reason_from_the_end_of_the_log(runtime: Callable[..., ProcessRuntime]) -> None:
    program = "import sys; print('reading'); print('--as-of=\"x\": expected a day', file=sys.stderr); sys.exit(64)"
    with pytest.raises(AirflowFailException, match='--as-of="x": expected a day'):
        runtime(program).run()


def test_log_lines_come_while_the_job_runs(runtime: Callable[..., ProcessRuntime], lines: Lines) -> None:
    runtime("import time; print('first'); time.sleep(1.5); print('second')").run()
    assert lines.texts == ["first", "second"]
    (first, _), (second, _) = lines.lines
    assert second - first > 1


def test_unreadable_bytes_and_empty_lines_do_not_end_the_log(
    runtime: Callable[..., ProcessRuntime], lines: Lines
) -> None:
    runtime(r"import sys; sys.stdout.buffer.write(b'caf\xe9\n\n\xed\x95\x9c\n')").run()
    assert lines.texts == [r"caf\xe9", "한"]


def test_job_sees_its_credentials_and_none_of_airflow_s(
    runtime: Callable[..., ProcessRuntime], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_R_IRT", "http://token@r-irt")
    monkeypatch.setenv("AIRFLOW_VAR_LMS_KEY", "key-of-the-lms")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://airflow:hunter2@db/airflow")
    runtime("import json, os; print(json.dumps(dict(os.environ)))", DATABASE_URL="postgresql://u:pw@db/x").run()
    (text,) = lines.texts
    environment = json.loads(text)
    assert environment["DATABASE_URL"] == "postgresql://u:pw@db/x"
    assert environment["IRT_TRY_NUMBER"] == "2"
    assert "hunter2" not in text
    assert "token@r-irt" not in text
    assert "key-of-the-lms" not in text


def test_no_command_line_shows_a_credential(runtime: Callable[..., ProcessRuntime], lines: Lines) -> None:
    program = (
        "import psutil; me = psutil.Process(); print([' '.join(process.cmdline()) for process in (me, *me.parents())])"
    )
    runtime(program, DATABASE_URL="postgresql://analyst:correct-horse@db/answers").run()
    (commands,) = lines.texts
    assert "supervise.py" in commands
    assert "correct-horse" not in commands


def test_nothing_in_a_spec_s_repr_is_secret() -> None:
    assert "correct-horse" not in repr(spec("pass", DATABASE_URL="postgresql://analyst:correct-horse@db/answers"))


# A job with a child of its own, as a renderer of reports is; both wait for ever. `{on_term}` is its answer to SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
def on_term(*_):
    {on_term}
child = subprocess.Popen([sys.executable, "-c", {child!r}])
signal.signal(signal.SIGTERM, on_term)
time.sleep(0.5)
print("pids", os.getpid(), child.pid, os.getppid(), flush=True)
while True:
    time.sleep(60)
"""
STUBBORN_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
ROLLS_BACK = "print('rolled back', flush=True); sys.exit(143)"
IGNORES = "pass"

# The task process: it runs a job as Airflow's does, in its main thread.
TASK = """
import signal
from irt_airflow.process import ProcessRuntime
from tests.dags.test_process_runtime import spec
class Log:
    def info(self, event, *args):
        print(event % args, flush=True)
runtime = ProcessRuntime(spec({program!r}), Log())
signal.signal(signal.SIGTERM, lambda *_: runtime.kill())
runtime.run()
"""


def start_task(program: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a task process and return it with its job, the job's child, and their supervisor."""
    root = Path(__file__).parents[2]
    task = subprocess.Popen(
        [sys.executable, "-c", TASK.format(program=program)],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert task.stdout is not None
    name, *pids = task.stdout.readline().split()
    assert name == "pids"
    family = [psutil.Process(int(pid)) for pid in pids]
    assert os.getsid(family[0].pid) != os.getsid(task.pid), "the job has no session of its own"
    return task, family


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone_within(family: list[psutil.Process], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while any(map(is_alive, family)) and time.monotonic() < give_up:
        time.sleep(0.02)
    alive = [process for process in family if is_alive(process)]
    for process in alive:
        process.kill()
    return not alive


def test_killed_task_gives_its_job_time_to_roll_back() -> None:
    task, family = start_task(FAMILY.format(on_term=ROLLS_BACK, child="import time; time.sleep(600)"))
    task.send_signal(signal.SIGTERM)
    assert gone_within(family, GRACE_SECONDS), "the job answered SIGTERM, but something was left"
    output, _ = task.communicate(timeout=SUPERVISOR_PATIENCE)
    assert "rolled back" in output


def test_job_that_ignores_sigterm_is_gone_before_airflow_kills_the_task() -> None:
    task, family = start_task(FAMILY.format(on_term=IGNORES, child=STUBBORN_CHILD))
    began = time.monotonic()
    task.send_signal(signal.SIGTERM)
    assert gone_within(family, SUPERVISOR_PATIENCE)
    task.wait(timeout=SUPERVISOR_PATIENCE)
    assert time.monotonic() - began > GRACE_SECONDS, "nobody waited for the roll-back"


@pytest.mark.parametrize("on_term", [ROLLS_BACK, IGNORES])
def test_nothing_of_a_job_outlives_a_task_that_was_killed_outright(on_term: str) -> None:
    task, family = start_task(FAMILY.format(on_term=on_term, child=STUBBORN_CHILD))
    task.kill()
    assert gone_within(family, SUPERVISOR_PATIENCE)
    task.communicate()


def test_job_dies_with_its_supervisor() -> None:
    task, (job, child, supervisor) = start_task(FAMILY.format(on_term=IGNORES, child=STUBBORN_CHILD))
    supervisor.kill()
    assert gone_within([job, child], SUPERVISOR_PATIENCE), "a job runs on that nobody waits for"
    task.communicate(timeout=SUPERVISOR_PATIENCE)
    assert task.returncode != 0


def test_what_a_job_leaves_behind_does_not_keep_the_task_waiting(
    runtime: Callable[..., ProcessRuntime], lines: Lines
) -> None:
    program = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {STUBBORN_CHILD!r}]).pid)"
    runtime(program).run()
    (left_behind,) = map(int, lines.texts)
    assert not psutil.pid_exists(left_behind) or gone_within([psutil.Process(left_behind)], 1)


def test_kill_before_the_start_still_ends_the_job(runtime: Callable[..., ProcessRuntime]) -> None:
    killed = runtime("import time; time.sleep(600)")
    killed.kill()
    with pytest.raises(AirflowException, match=r"exit code 137|exit code 143"):
        killed.run()
