"""What a newcomer meets: one command from a log to a report, a web UI that shows the run, and words when it fails."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from irt_analytics.demo.airflow import DAG_ID, USER
from irt_analytics.simulate import simulate_cohort

ROOT = Path(__file__).parents[2]
AS_OF = date(2026, 1, 31)
PARTS = ("dags", "plugins", "include", "tools")
#: R packages, services and the Stan model, which take minutes to install; what runs of them is the checkout's own.
R_HOME = Path(".demo/r")
BRANCHES = {"fit_glmm", "fit_survival_churn", "forecast_prophet", "fit_bayesian_growth", "cluster_segments"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Checkout:
    """A copy of the project with a .demo of its own."""

    root: Path

    def environment(self, **settings: str) -> dict[str, str]:
        said = {f"IRT_DEMO_{name}": value for name, value in settings.items()}
        return os.environ | {"PYTHONPATH": str(self.root / "include")} | said

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "irt_analytics", "demo", name]

    def run(self, name: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name),
            cwd=self.root,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """Everything of Airflow, its jobs and the R services that runs here: they work in the project's folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and Path(process.cwd()) == self.root:
                    found.append(process)
        return found

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / ".demo" / "summary.json").read_text(encoding="utf-8"))
        return found

    def metadata(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's own database."""
        host = psycopg.conninfo.conninfo_to_dict(self.summary["database_url"])["host"]
        with psycopg.connect(host=host, user="postgres", dbname="airflow") as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    folder = Path(tempfile.mkdtemp(prefix="irt-demo-"))
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part)  # with the caches of compiled kernels
    set_up_r()
    shutil.copytree(ROOT / R_HOME, folder / R_HOME, ignore=shutil.ignore_patterns("services.json", "lock"))
    made = Checkout(folder)
    yield made
    made.run("down")
    shutil.rmtree(folder, ignore_errors=True)


def set_up_r() -> None:
    """Install what the services need, as the demo would, from where these tests have R mirt."""
    repository = ROOT.parent / "shared" / "r"
    environment = dict(os.environ)
    if (repository / "src").is_dir():
        environment.setdefault("R_REPOS", repository.as_uri())
    subprocess.run([str(ROOT / "tools" / "setup-r")], cwd=ROOT, env=environment, check=True)


@pytest.fixture(scope="module")
def unavailable(checkout: Checkout) -> dict[str, str]:
    """Services that cannot run here, with their reasons."""
    status = json.loads((checkout.root / R_HOME / "status.json").read_text(encoding="utf-8"))
    return {name: entry["reason"] for name, entry in status.items() if not entry["ok"]}


@pytest.fixture(scope="module")
def log(checkout: Checkout) -> Path:
    """A log of a platform's own: other column names, gzipped CSV."""
    cohort = simulate_cohort(learners=150, items=50, topics=5, weeks=10, as_of=AS_OF)
    path = checkout.root / "platform log.csv.gz"
    attempts = cohort.attempts.assign(completed_at=cohort.attempts["completed_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    columns = ["student_id", "item_id", "topic_id", "correct", "completed_at", "response_time_ms"]
    attempts[columns].rename(columns={"correct": "is_right"}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def done(checkout: Checkout, log: Path) -> subprocess.CompletedProcess[str]:
    """The demo on that log, run to its end."""
    ended = checkout.run("run", DATA=str(log), AS_OF=str(AS_OF), COLUMNS="correct=is_right")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_a_log_becomes_a_report(checkout: Checkout, done: subprocess.CompletedProcess[str]) -> None:
    summary = checkout.summary
    assert (summary["as_of"], summary["tenant"]) == (str(AS_OF), "default")
    reports = [Path(path) for path in summary["reports"]]
    assert {path.suffix for path in reports} == {".html", ".pdf"}
    assert all(path.stat().st_size > 10_000 for path in reports)
    assert reports[0].is_relative_to(checkout.root / ".demo" / "reports")
    assert all(str(path.relative_to(checkout.root)) in done.stdout for path in reports)
    assert {"growth by topic", "at risk of leaving", "goals", "forecast", "segments"} <= summary["numbers"].keys()


@pytest.mark.usefixtures("done")
def test_every_branch_has_its_number_or_says_why_not(checkout: Checkout, unavailable: dict[str, str]) -> None:
    """A branch that quietly did nothing would pass for a model of this cohort."""
    with psycopg.connect(checkout.summary["database_url"]) as connection:
        rows = connection.execute("select job, status, reason from job_run where job = any(%s)", (list(BRANCHES),))
        ended = {job: (status, reason) for job, status, reason in rows}
    assert ended.keys() == BRANCHES
    numbers = checkout.summary["numbers"]
    shown = {
        "fit_glmm": ("growth by topic", "glmm"),
        "fit_survival_churn": ("at risk of leaving", "forecast"),
        "forecast_prophet": ("forecast", "forecast"),
        "fit_bayesian_growth": ("goals", "brms"),
    }
    for job, (name, service) in shown.items():
        status, reason = ended[job]
        if service in unavailable:
            assert (status, unavailable[service] in reason) == ("skipped", True)
        assert (numbers[name]["value"] is None) == (status == "skipped"), name
        assert status == "success" or numbers[name]["text"] == f"none: {reason}"


@pytest.mark.usefixtures("done")
def test_services_get_their_tokens_and_nobody_else_does(checkout: Checkout) -> None:
    connections = json.loads((checkout.root / ".demo/connections.json").read_text(encoding="utf-8"))
    tokens = [entry["password"] for name, entry in connections.items() if "r_" in name and "password" in entry]
    assert len(set(tokens)) == len(tokens)
    for path in (checkout.root / ".demo/airflow/logs").rglob("*.log"):
        text = path.read_text(encoding="utf-8")
        assert not any(token in text for token in tokens), path


@pytest.mark.usefixtures("done")
def test_the_summary_counts_what_is_in_the_database(checkout: Checkout) -> None:
    rows = checkout.summary["rows"]
    with psycopg.connect(checkout.summary["database_url"]) as connection:
        for table in (
            "attempt_log",
            "mirt_item_params",
            "mirt_ability",
            "weekly_kpi",
            "features_topic_daily",
            "job_run",
        ):
            counted = connection.execute(f"select count(*) from {table}").fetchone()
            assert counted == (rows[table],)
            assert rows[table] > 0


@pytest.mark.usefixtures("done")
def test_the_run_is_one_of_airflows_own(checkout: Checkout) -> None:
    """Else `make up` has nothing to show of it."""
    assert checkout.metadata("select state, run_type from dag_run") == [("success", "manual")]
    states = checkout.metadata("select task_id, state from task_instance")
    assert {state for _, state in states} == {"success"}
    assert {task for task, _ in states} == set(checkout.summary["seconds"]) | {"all_branches_ok"}
    run_id = checkout.summary["dag_run_id"]
    for task, _ in states:
        log = checkout.root / ".demo/airflow/logs" / f"dag_id={DAG_ID}/run_id={run_id}/task_id={task}/attempt=1.log"
        assert task == "all_branches_ok" or log.stat().st_size > 0


def test_every_task_has_a_line_with_its_seconds(
    done: subprocess.CompletedProcess[str], unavailable: dict[str, str]
) -> None:
    for task in ("prepare_schema", "check_attempts", "mirt_calibrate", *BRANCHES, "generate_weekly_report"):
        assert any(line.split()[:1] == [task] and line.endswith(" s") for line in done.stdout.splitlines())
    said = [f"R service {name} is not available: {reason}" for name, reason in unavailable.items()]
    assert done.stderr.splitlines() == said


@pytest.mark.usefixtures("done")
def test_nothing_of_airflow_or_r_runs_on(checkout: Checkout) -> None:
    assert checkout.processes() == []


@pytest.mark.usefixtures("done")
def test_only_its_owner_can_read_a_secret(checkout: Checkout) -> None:
    secrets = json.loads((checkout.root / ".demo/secrets.json").read_text(encoding="utf-8"))
    holders = 0
    for path in (checkout.root / ".demo").rglob("*"):
        if path.is_file() and not path.is_relative_to(checkout.root / ".demo/postgres"):
            text = path.read_bytes()
            if any(secret.encode() in text for secret in secrets.values()):
                holders += 1
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert holders >= 3


@pytest.mark.usefixtures("done")
def test_a_day_with_too_little_fails_with_the_reason_and_no_trace(checkout: Checkout, log: Path) -> None:
    ended = checkout.run("run", DATA=str(log), AS_OF="2025-11-24", COLUMNS="correct=is_right")
    assert ended.returncode == 1
    assert "mirt_calibrate" in ended.stdout
    assert "failed" in ended.stdout
    assert "task mirt_calibrate failed" in ended.stderr
    assert ".demo/airflow/logs/" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert checkout.processes() == []


@pytest.mark.usefixtures("done")
def test_an_interrupted_demo_leaves_nothing_running_and_the_next_one_succeeds(checkout: Checkout, log: Path) -> None:
    settings = {"DATA": str(log), "AS_OF": str(AS_OF), "COLUMNS": "correct=is_right"}
    child = subprocess.Popen(
        checkout.command("run"),
        cwd=checkout.root,
        env=checkout.environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert any(line.split()[:1] == ["check_attempts"] for line in child.stdout)
    child.send_signal(signal.SIGTERM)  # a shell's background jobs, such as a CI's, ignore SIGINT
    _, errors = child.communicate(timeout=60)
    assert child.returncode not in (0, None)
    assert "Traceback" not in errors
    assert checkout.processes() == []
    again = checkout.run("run", **settings)
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.usefixtures("done")
def test_the_web_ui_opens_with_the_printed_password(checkout: Checkout, unavailable: dict[str, str]) -> None:
    services = ("irt", "glmm", "forecast", "brms")
    port = _free_port()
    up = checkout.run("up", PORT=str(port))
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        password = json.loads((checkout.root / ".demo/secrets.json").read_text(encoding="utf-8"))["password"]
        url = f"http://127.0.0.1:{port}"
        assert f"{url}   user {USER}, password {password}" in up.stdout
        assert f"make trigger AS_OF={AS_OF}" in up.stdout
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as browser:
            assert browser.post("/auth/token", json={"username": USER, "password": "guess"}).status_code == 401
            token = browser.post("/auth/token", json={"username": USER, "password": password}).json()["access_token"]
            browser.headers["Authorization"] = f"Bearer {token}"
            dag = browser.get(f"/api/v2/dags/{DAG_ID}").json()
            assert dag["is_paused"], "the log is old: its schedule would fail at once"
            runs = browser.get(f"/api/v2/dags/{DAG_ID}/dagRuns").json()["dag_runs"]
            assert checkout.summary["dag_run_id"] in [run["dag_run_id"] for run in runs]
            assert browser.get("/").status_code == 200
        listening = {
            connection.laddr[0]
            for process in checkout.processes()
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}, "a laptop's network must not see it"
    finally:
        down = checkout.run("down")
    assert down.returncode == 0
    for name in (
        "api-server",
        "postgres",
        *(f"r-{service}-plumber" for service in services if service not in unavailable),
    ):
        assert name in down.stdout
    assert checkout.processes() == []
    assert "nothing was running" in checkout.run("down").stdout


@pytest.mark.usefixtures("done")
def test_a_busy_port_is_named_with_who_holds_it(checkout: Checkout) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        up = checkout.run("up", PORT=str(port))
    assert up.returncode == 64
    assert f"port {port} is taken by process {os.getpid()}" in up.stderr
    assert checkout.processes() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DATA": "no such log.csv"}, "DATA=no such log.csv does not exist"),
        ({"DATA": "include"}, "DATA=include is a folder"),
        ({"DATA": "dags/irt_analytics_daily.py"}, "expected a file that ends in .csv, .csv.gz or .parquet"),
        ({"AS_OF": "31.01.2026"}, "AS_OF='31.01.2026': expected a day such as 2026-01-31"),
        ({"AS_OF": "2099-01-01"}, "AS_OF=2099-01-01 has not come yet"),
        ({"COLUMNS": "correct=is_right"}, "there is no DATA=..."),
        ({"DATA": "LOG"}, 'COLUMNS="correct=is_right"'),
        ({"DATA": "LOG", "COLUMNS": "corect=is_right"}, "'corect' is no column of the contract"),
        ({"DATA": "LOG", "COLUMNS": "correct=wrong"}, "'wrong'"),
        (
            {"DATA": "LOG", "COLUMNS": "correct=is_right", "AS_OF": "2001-01-01"},
            "AS_OF=2001-01-01 is before the log's first answer",
        ),
    ],
)
def test_bad_input_ends_with_one_line_that_says_what_is_wrong(
    settings: dict[str, str], said: str, checkout: Checkout, log: Path
) -> None:
    ended = checkout.run("run", **{name: str(log) if value == "LOG" else value for name, value in settings.items()})
    assert ended.returncode == 64
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert checkout.processes() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.usefixtures("done")
def test_the_demo_of_another_user_is_not_touched(checkout: Checkout) -> None:
    demo = checkout.root / ".demo"
    os.chown(demo, 65534, 65534)
    try:
        ended = checkout.run("down")
    finally:
        os.chown(demo, 0, 0)
    assert ended.returncode == 64
    assert "belongs to another user" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["DATA=no such log.csv"], "error: DATA=no such log.csv does not exist"),
        (["AS_OF=31.01.2026"], "error: AS_OF='31.01.2026': expected a day"),
        (["COLUMNS=correct=is_right"], "error: COLUMNS='correct=is_right' names the columns of a log"),
    ],
)
def test_make_hands_over_what_was_said_and_nothing_else(arguments: list[str], said: str) -> None:
    """Many terminals set COLUMNS to their width: it must not be taken for the columns of a log."""
    ended = subprocess.run(
        ["make", "demo", *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120", "DATA": "/", "AS_OF": "today"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr


def test_make_help_lists_every_command() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in printed.splitlines()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:"))
    assert listed == set(phony.split()[1:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
