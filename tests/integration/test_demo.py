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
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import psycopg
import pytest
from tests.integration.real_logs import REAL_LOGS, RealLog
from tests.unit.report.page import Page

from irt_analytics.demo.airflow import DAG_ID, USER
from irt_analytics.simulate import simulate_cohort

ROOT = Path(__file__).parents[2]
AS_OF = date(2026, 1, 31)
PARTS = ("dags", "plugins", "include", "tools")
#: R packages, services and the Stan model, which take minutes to install; what runs of them is the checkout's own.
R_HOME = Path(".demo/r")
BRANCHES = {"fit_glmm", "fit_survival_churn", "forecast_prophet", "fit_bayesian_growth", "cluster_segments"}
#: The service that a branch asks; segments need none.
SERVICE = {
    "fit_glmm": "glmm",
    "fit_survival_churn": "forecast",
    "forecast_prophet": "forecast",
    "fit_bayesian_growth": "brms",
}
#: The number of the summary that comes from a branch.
NUMBER = {
    "fit_glmm": "growth by topic",
    "fit_survival_churn": "at risk of leaving",
    "forecast_prophet": "forecast",
    "fit_bayesian_growth": "goals",
    "cluster_segments": "segments",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


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
            timeout=1500,
            check=False,
        )

    def verify(self) -> subprocess.CompletedProcess[str]:
        """`irt_analytics verify` on the last run's day."""
        summary = self.summary
        return subprocess.run(
            [sys.executable, "-m", "irt_analytics", "verify", "--as-of", summary["as_of"]],
            cwd=self.root,
            env=self.environment() | {"DATABASE_URL": summary["database_url"]},
            capture_output=True,
            text=True,
            check=False,
        )

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the last run's database."""
        with psycopg.connect(self.summary["database_url"]) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def branches(self) -> dict[str, tuple[str, str | None]]:
        """How each branch of the last run's day ended, and why it was skipped."""
        rows = self.rows(
            "select job, status, reason from job_run where job = any(%s) and as_of = %s order by job_run_id",
            list(BRANCHES),
            self.summary["as_of"],
        )
        return {job: (status, reason) for job, status, reason in rows}

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
    ended = checkout.branches()
    assert ended.keys() == BRANCHES
    numbers = checkout.summary["numbers"]
    for job, name in NUMBER.items():
        status, reason = ended[job]
        if SERVICE.get(job) in unavailable:
            assert (status, unavailable[SERVICE[job]] in str(reason)) == ("skipped", True)
        assert (numbers[name]["value"] is None) == (status == "skipped"), name
        assert status == "success" or numbers[name]["text"] == f"none: {reason}"


def test_the_terminal_shows_the_five_most_useful_numbers(
    checkout: Checkout, done: subprocess.CompletedProcess[str]
) -> None:
    """Nine lines of numbers are read by nobody; what is left out must be found, and known where it is missing."""
    _, said = done.stdout.split("\ndone in ")
    numbers = checkout.summary["numbers"]
    shown = [name for name in numbers if f"\n  {name:<22}{numbers[name]['text']}\n" in said]
    assert shown == ["items", "learners measured", "growth", "at risk of leaving", "goals"]
    (more,) = (line for line in said.splitlines() if ".demo/summary.json" in line)
    assert all((name in more) == (numbers[name]["value"] is None) for name in numbers.keys() - set(shown))


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
    states = checkout.metadata("select task_id, map_index, state from task_instance")
    assert {state for *_, state in states} == {"success"}
    names = {task if index < 0 else f"{task}[{index}]" for task, index, _ in states}
    assert names == set(checkout.summary["seconds"]) | {"all_branches_ok"}
    run_id = checkout.summary["dag_run_id"]
    for task, index, _ in states:
        folder = checkout.root / ".demo/airflow/logs" / f"dag_id={DAG_ID}/run_id={run_id}/task_id={task}"
        log = (folder if index < 0 else folder / f"map_index={index}") / "attempt=1.log"
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


@pytest.mark.usefixtures("done")
def test_psql_opens_the_last_demo_s_database(checkout: Checkout) -> None:
    asked = [*checkout.command("psql"), "-qAt", "-c", "select count(*) from weekly_kpi"]
    answer = subprocess.run(
        asked, cwd=checkout.root, env=checkout.environment(), capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == str(checkout.summary["rows"]["weekly_kpi"])


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


@dataclass(frozen=True)
class Interrupted:
    """How a demo ended that was asked to stop amid its run."""

    returncode: int
    errors: str
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def interrupted(checkout: Checkout) -> Interrupted:
    child = subprocess.Popen(
        checkout.command("run"),
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert any(line.split()[:1] == ["check_attempts"] for line in child.stdout)
    child.send_signal(signal.SIGTERM)  # a shell's background jobs, such as a CI's, ignore SIGINT
    _, errors = child.communicate(timeout=60)
    return Interrupted(child.returncode, errors, checkout.processes())


@pytest.fixture(scope="module")
def plain(checkout: Checkout, interrupted: Interrupted) -> subprocess.CompletedProcess[str]:  # noqa: ARG001
    """`make demo` as a newcomer types it, run to its end after one that was interrupted."""
    ended = checkout.run("run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_an_interrupted_demo_leaves_nothing_running_and_the_next_one_succeeds(
    interrupted: Interrupted, plain: subprocess.CompletedProcess[str]
) -> None:
    assert interrupted.returncode != 0
    assert "Traceback" not in interrupted.errors
    assert interrupted.left == []
    assert plain.returncode == 0


@pytest.mark.usefixtures("plain")
def test_the_plain_demo_shows_every_model_at_work(checkout: Checkout, unavailable: dict[str, str]) -> None:
    for job, (status, reason) in checkout.branches().items():
        assert status == ("skipped" if SERVICE.get(job) in unavailable else "success"), (job, reason)
    verified = checkout.verify()
    assert verified.returncode == 0, verified.stdout
    assert checkout.processes() == []


@pytest.mark.usefixtures("plain")
def test_the_plain_demo_finds_what_was_planted(checkout: Checkout, unavailable: dict[str, str]) -> None:
    """A newcomer judges the models by it. Chance differs by the weekday that the cohort ends on, so bounds are wide."""
    as_of = date.fromisoformat(checkout.summary["as_of"])
    numbers = {name: number["value"] for name, number in checkout.summary["numbers"].items()}
    truth = simulate_cohort(as_of=as_of).truth
    planted = truth.learners.set_index("student_id").assign(
        theta=truth.theta_on(as_of),
        gain=truth.theta_on(as_of - timedelta(days=6)) - truth.theta_on(as_of - timedelta(days=20)),
        gone=lambda learners: learners["churned_at"] < pd.Timestamp(as_of + timedelta(days=1), tz="UTC"),
    )

    def found(table: str, *columns: str) -> pd.DataFrame:
        """What the day says of its learners, beside what was planted in them."""
        rows = checkout.rows(f"select user_id, {', '.join(columns)} from {table} where as_of = %s", as_of)
        frame = pd.DataFrame(rows, columns=["user_id", *columns]).set_index("user_id")
        return frame.join(planted.add_prefix("true_"))

    ability = found("mirt_ability", "theta")
    assert numbers["items"] == len(truth.items)
    assert len(ability) > 500
    explained = np.corrcoef(ability["theta"], ability["true_theta"])[0, 1] ** 2
    assert numbers["learners measured"] == pytest.approx(explained, abs=0.05)
    assert numbers["growth"] == pytest.approx(ability["true_gain"].mean(), abs=0.1)
    segments = found("user_segments", "label")
    assert (segments["label"] == segments["true_segment"]).mean() > 0.7
    if "forecast" not in unavailable:
        risk = found("survival_risk", "risk").groupby("true_gone")["risk"].mean()
        assert risk[True] > 2 * risk[False]
        assert numbers["forecast"] == pytest.approx(0, abs=0.5), "the scale's zero is the cohort's mean"
    if "glmm" not in unavailable:
        assert numbers["growth by topic"] == pytest.approx(ability["true_growth"].mean(), abs=0.02)
    if "brms" not in unavailable:
        goals = found("growth_learner", "p", "p_kind", "target_theta", "target_date").query("p_kind == 'goal'")
        weeks = (pd.to_datetime(goals["target_date"]) - pd.Timestamp(as_of)).dt.days / 7
        reached = goals["true_theta"] + weeks * goals["true_growth"] >= goals["target_theta"]
        assert goals.loc[reached, "p"].mean() > goals.loc[~reached, "p"].mean() + 0.3
        assert numbers["goals"] == (goals["p"] >= 0.5).sum()


@pytest.mark.usefixtures("plain")
def test_a_log_that_reaches_yesterday_keeps_its_schedule(checkout: Checkout) -> None:
    """Else who leaves the demo running overnight finds no report of the day in the morning."""
    up = checkout.run("up", PORT=str(_free_port()))
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert "keeps its schedule" in up.stdout
        assert checkout.metadata(f"select is_paused from dag where dag_id = '{DAG_ID}'") == [(False,)]
        give_up = time.monotonic() + 60
        while not checkout.metadata("select 1 from dag_run where run_type = 'scheduled'"):
            assert time.monotonic() < give_up, "no run of the schedule appeared"
            time.sleep(0.5)
    finally:
        down = checkout.run("down")
    assert down.returncode == 0
    assert checkout.processes() == []


@pytest.mark.parametrize("real", REAL_LOGS, ids=lambda real: real.name)
def test_a_real_log_gets_what_it_allows_and_the_report_says_what_not(
    real: RealLog, checkout: Checkout, unavailable: dict[str, str]
) -> None:
    """A school's own log has gaps; each must be a reason in numbers, not a made-up result and not a failure."""
    if not real.path.exists():
        pytest.skip(f"{real.path} is not there")
    ended = checkout.run("run", DATA=str(real.path), AS_OF=str(real.as_of))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    page, pdf = (Path(path) for path in checkout.summary["reports"])
    assert (page.suffix, pdf.suffix, pdf.read_bytes()[:5]) == (".html", ".pdf", b"%PDF-")
    verified = checkout.verify()
    assert verified.returncode == 0, verified.stdout

    bank = [item for (item,) in checkout.rows("select item_id from mirt_item_params_current")]
    lacks = real.lacks(bank)
    branches = checkout.branches()
    assert branches.keys() == BRANCHES
    for job, (status, reason) in branches.items():
        if job in lacks:
            assert (status, str(reason).startswith(lacks[job])) == ("skipped", True), (job, reason, lacks[job])
        elif (why := unavailable.get(SERVICE.get(job, ""))) is not None:
            assert (status, why in str(reason)) == ("skipped", True), (job, reason)
        else:
            assert (status, reason) == ("success", None), job
    ahead = checkout.rows("select count(*) from prophet_forecast where series = 'cohort' and metric = 'theta'")
    assert ahead == [(4 if branches["forecast_prophet"][0] == "success" else 0,)]

    ((measured,),) = checkout.rows(
        "select count(i_t) from weekly_kpi where as_of = %s and not reconstructed and i_t_source = 'theta'", real.as_of
    )
    growth = checkout.summary["numbers"]["growth"]
    assert (growth["value"] is None) == (measured < 20), "under 20 learners the mean of growth is assumed"

    report = Page.read(page)
    for sentence in real.says(real, lacks):
        assert sentence in report.text
    skips = [badge for badge in report.badges if badge.startswith("Skipped ")]
    assert len(skips) == sum(status == "skipped" for status, _ in branches.values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DATA": "no such log.csv"}, "DATA=no such log.csv does not exist"),
        ({"DATA": "include"}, "DATA=include is a folder"),
        ({"DATA": "dags/irt_analytics_daily.py"}, "expected a file that ends in .csv, .csv.gz or .parquet"),
        ({"AS_OF": "31.01.2026"}, "AS_OF='31.01.2026': expected a day such as 2026-01-31"),
        ({"AS_OF": "2099-01-01"}, "AS_OF=2099-01-01 is not over yet"),
        ({"AS_OF": "TODAY"}, "is not over yet (UTC); expected a day up to"),
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
    meant = {"LOG": str(log), "TODAY": str(datetime.now(UTC).date())}
    ended = checkout.run("run", **{name: meant.get(value, value) for name, value in settings.items()})
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
