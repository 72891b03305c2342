"""The daily Dag in a real Airflow: scheduler, API server and task processes; only the jobs are a stand-in program."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import psycopg
import pytest
from tests.databases import database_of

from irt_analytics.demo.airflow import Airflow
from irt_analytics.demo.place import Place
from irt_analytics.demo.postgres import Postgres

ROOT = Path(__file__).parents[2]
DAG = "/dags/irt_analytics_daily"
PASSWORD = "correct-horse-battery"
DONE = {"success", "failed", "upstream_failed", "skipped", "removed"}
BRANCHES = ["fit_glmm", "fit_survival_churn", "forecast_prophet", "fit_bayesian_growth", "cluster_segments"]
JOBS = [
    "prepare_schema",
    "mirt_calibrate",
    "features_backfill",
    "compute_daily_kpis",
    *BRANCHES,
    "generate_weekly_report",
]
SHARDS = {"features_shards", "kpi_shards"}
TODAY = datetime.now(UTC).date()


class Webhook(ThreadingHTTPServer):
    """What `irt_notifications` leads to: keeps the messages, and answers what the test says."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Answers)

    def connection(self) -> dict[str, Any]:
        return {
            "conn_type": "http",
            "schema": "http",
            "host": "127.0.0.1/services",
            "port": self.server_port,
            "password": f"T0/B0/{PASSWORD}",
        }


class _Answers(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Write nothing to the tests' output."""


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


class Runs:
    """The Dag's runs, and what their jobs were called with."""

    def __init__(self, airflow: Airflow, folder: Path, connections: dict[str, Any]) -> None:
        self.airflow = airflow
        self.folder = folder
        self.connections = connections
        self._http = httpx.Client(base_url=airflow.url, timeout=30)
        login = {"username": "admin", "password": airflow.place.secrets.password}
        token = self._http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._http.request(method, f"/api/v2{path}", **arguments)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def trigger(self, **conf: Any) -> str:
        run = self.call("POST", f"{DAG}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.call("GET", f"{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {
            task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]": task
            for task in found
        }

    def finish(self, run_id: str, *, within: float = 120) -> tuple[str, dict[str, str], dict[str, int]]:
        """Wait for a run's end; return its state, and the states and tries of its tasks."""
        give_up = time.monotonic() + within
        while (state := self.call("GET", f"{DAG}/dagRuns/{run_id}")["state"]) in ("queued", "running"):
            assert time.monotonic() < give_up, f"{run_id} is {state}: {self.tasks(run_id)}"
            time.sleep(0.3)
        tasks = self.tasks(run_id)
        return (
            state,
            {name: task["state"] for name, task in tasks.items()},
            {name: task["try_number"] for name, task in tasks.items()},
        )

    def calls(self, run_id: str) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call["run_id"] == run_id]

    def await_call(self, run_id: str, job: str, *, count: int = 1) -> dict[str, Any]:
        give_up = time.monotonic() + 60
        while len(found := [call for call in self.calls(run_id) if call["job"] == job]) < count:
            assert time.monotonic() < give_up, f"{job} was not called: {self.tasks(run_id)}"
            time.sleep(0.1)
        return found[-1]

    def log(self, run_id: str, task: str, try_number: int = 1) -> str:
        return self.airflow.task_log(run_id, task, try_number).read_text()

    def exits(self, job: str, *codes: int) -> None:
        (self.folder / f"{job}.exit").write_text("\n".join(map(str, codes)))


@pytest.fixture(scope="module")
def runs(
    postgres_url: str, template_database: str, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    root = tmp_path_factory.mktemp("airflow")
    folder = root / "standin"
    folder.mkdir()
    (root / "dags").mkdir()
    shutil.copy(ROOT / "tests" / "dags" / "standin_dag.py", root / "dags" / "irt_analytics_daily.py")
    (root / "plugins").symlink_to(ROOT / "plugins")
    place = Place(root)
    for path in (place.folder, place.airflow_home, place.folder / "logs"):
        path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STANDIN_FOLDER", str(folder))
        patch.setenv("STANDIN_ROOT", str(ROOT))
        airflow = Airflow(place)
        known = connections(postgres_url, template_database, root / "reports")
        known["irt_notifications"] = webhook.connection()
        airflow.write_connections(known)
        postgres = Postgres.start(root / "postgres")
        try:
            airflow.start(postgres, port=None, scheduled=True)
            airflow.wait(None)
            yield Runs(airflow, folder, known)
        finally:
            airflow.stop()
            Postgres.stop(root / "postgres")


def connections(postgres_url: str, database: str, reports: Path) -> dict[str, Any]:
    info = psycopg.conninfo.conninfo_to_dict(postgres_url)
    return {
        "seedtest_db": {
            "conn_type": "postgres",
            "host": info["host"],
            "login": info["user"],
            "password": PASSWORD,
            "schema": database,
        },
        "report_store": {"conn_type": "generic", "extra": {"url": reports.as_uri()}},
        **{
            f"r_{name}": {"conn_type": "http", "host": "127.0.0.1", "port": 1, "password": f"{PASSWORD}-{name}"}
            for name in ("glmm", "forecast", "brms")
        },
    }


@pytest.fixture(autouse=True)
def clean(runs: Runs, webhook: Webhook) -> None:
    """Every job succeeds, and messages arrive, unless a test says otherwise."""
    for path in [*runs.folder.glob("*.exit"), *runs.folder.glob("*.wait")]:
        path.unlink()
    runs.airflow.write_connections(runs.connections)
    webhook.status = 200
    webhook.posted.clear()


@pytest.fixture(scope="module", autouse=True)
def answers(postgres_url: str, template_database: str) -> None:
    """A log without faults that reaches yesterday, and one in January 2026.

    Before 03:00 the newest scheduled run is yesterday's, which looks at the day before.
    """
    days = [date(2026, 1, 31), TODAY - timedelta(days=2), TODAY - timedelta(days=1)]
    with psycopg.connect(database_of(postgres_url, template_database)) as connection:
        for day in days:
            connection.execute(
                """
                insert into attempt_log (tenant_id, student_id, item_id, topic_id, correct, completed_at)
                values ('default', 'ada', 'i1', 't1', true, %(day)s::date + time '12:00')
                """,
                {"day": day},
            )


def test_scheduled_run_looks_at_yesterday_and_so_does_its_rerun(runs: Runs) -> None:
    """A rerun that took another day would publish results under the wrong date."""
    runs.call("PATCH", DAG, json={"is_paused": False})
    give_up = time.monotonic() + 60
    while not (found := runs.call("GET", f"{DAG}/dagRuns", params={"run_type": "scheduled"})["dag_runs"]):
        assert time.monotonic() < give_up, "unpausing made no scheduled run"
        time.sleep(0.3)
    (run,) = found
    run_id = run["dag_run_id"]
    due = datetime.fromisoformat(run["logical_date"])
    assert (due.hour, due.minute) == (3, 0)
    state, tasks, _ = runs.finish(run_id)
    assert state == "success", tasks
    yesterday = (due.date() - timedelta(days=1)).isoformat()
    called = [call["job"] for call in runs.calls(run_id)]
    assert sorted(called) == sorted(JOBS)
    assert [job for job in called if job not in BRANCHES] == [job for job in JOBS if job not in BRANCHES]
    assert {call["flags"]["as-of"] for call in runs.calls(run_id)} == {yesterday}

    runs.call(
        "POST",
        f"{DAG}/clearTaskInstances",
        json={"dry_run": False, "dag_run_id": run_id, "task_ids": ["mirt_calibrate"], "only_failed": False},
    )
    again = runs.await_call(run_id, "mirt_calibrate", count=2)
    assert again["flags"]["as-of"] == yesterday
    assert again["try_number"] == 2
    assert runs.finish(run_id)[0] == "success"
    assert len(runs.calls(run_id)) == len(JOBS) + 1, "clearing one task ran others too"


def test_manual_run_of_a_past_day_passes_every_param_and_ends_with_the_report_s_link(
    runs: Runs, webhook: Webhook
) -> None:
    triggered = datetime.now(UTC) - timedelta(seconds=1)  # deadlines are whole seconds
    run_id = runs.trigger(as_of="2026-01-31", model="Rasch", min_answers_item=40, report_lang="ko")
    state, tasks, tries = runs.finish(run_id)
    (schema,) = [call for call in runs.calls(run_id) if call["job"] == "prepare_schema"]
    began = datetime.fromisoformat(schema["deadline"]) - timedelta(minutes=15)
    assert triggered <= began <= datetime.now(UTC), "a job must know when its task's time is over"
    assert state == "success", tasks
    assert set(tasks.values()) == {"success"}
    assert {f"{name}[0]" for name in SHARDS} <= set(tasks), "one shard, without a call of its job"
    assert not webhook.posted, "a message about a run that went well"
    assert set(tries.values()) <= {0, 1}
    for call in runs.calls(run_id):
        assert call["flags"] == {
            "as-of": "2026-01-31",
            "tenant": "default",
            "model": "Rasch",
            "irt-engine": "native",
            "linking": "stocking_lord",
            "priors": "weak",
            "groups": "earlier_ability",
            "invalid-answers": "missing",
            "irt-window-days": "30",
            "min-answers-item": "40",
            "min-answers-learner": "5",
            "min-anchors": "5",
            "min-anchor-share": "0.2",
            "max-slope-change": "0.25",
            "max-scale-shift": "0.5",
            "max-item-shift": "0.3",
            "max-fit-loss": "0.02",
            "survival-window-days": "90",
            "prophet-weeks": "26",
            "growth-weeks": "8",
            "glmm-weeks": "12",
            "segment-weeks": "12",
            "learner-pages": "flagged",
            "report-lang": "ko",
            "shards": "1",
        }
    links = runs.call("GET", f"{DAG}/dagRuns/{run_id}/taskInstances/generate_weekly_report/links")
    reports = runs.folder.parent / "reports"
    assert links["extra_links"] == {"Open report": f"{reports.as_uri()}/2026-01-31/report.html"}


def test_shards_run_before_their_job_and_one_that_fails_costs_no_day(runs: Runs, webhook: Webhook) -> None:
    """The job computes what a lost shard did not, and the run says which was lost."""
    runs.exits("features_backfill", 1)  # the first call: a shard's
    run_id = runs.trigger(as_of="2026-01-31", shards=3)
    state, tasks, _ = runs.finish(run_id)
    calls = runs.calls(run_id)
    for job, shards in (("features_backfill", "features_shards"), ("compute_daily_kpis", "kpi_shards")):
        flags = [call["flags"] for call in calls if call["job"] == job]
        assert {call["shards"] for call in flags} == {"3"}
        assert sorted(call["shard"] for call in flags[:3]) == ["1/3", "2/3", "3/3"]
        assert [call.get("shard") for call in flags[3:]] == [None], "the job itself, after all of its shards"
        assert {f"{shards}[{index}]" for index in range(3)} <= set(tasks)
    failed = [name for name, task in tasks.items() if task == "failed"]
    assert len(failed) == 1
    assert failed[0].startswith("features_shards[")
    assert tasks["generate_weekly_report"] == "success"
    assert (state, tasks["all_branches_ok"]) == ("failed", "upstream_failed")
    ((_, message),) = webhook.posted
    assert f"• {failed[0]}: features_backfill ended with exit code 1, a defect" in message["text"]


def test_manual_run_without_a_day_looks_at_the_day_before_it_was_triggered(runs: Runs) -> None:
    runs.exits("prepare_schema", 65)
    run_id = runs.trigger()
    runs.finish(run_id)
    (call,) = runs.calls(run_id)
    triggered = datetime.fromisoformat(runs.call("GET", f"{DAG}/dagRuns/{run_id}")["run_after"])
    assert call["flags"]["as-of"] == (triggered.date() - timedelta(days=1)).isoformat()
    assert call["flags"]["min-answers-item"] == "", "null must reach the job as `not set`"


def test_backfill_of_the_day_after_looks_at_the_day(runs: Runs) -> None:
    runs.exits("prepare_schema", 65)
    runs.call(
        "POST",
        "/backfills",
        json={
            "dag_id": "irt_analytics_daily",
            "from_date": "2026-02-01T00:00:00Z",
            "to_date": "2026-02-02T00:00:00Z",
            "max_active_runs": 1,
        },
    )
    (run,) = runs.call("GET", f"{DAG}/dagRuns", params={"run_type": "backfill"})["dag_runs"]
    runs.finish(run["dag_run_id"])
    (call,) = runs.calls(run["dag_run_id"])
    assert call["flags"]["as-of"] == "2026-01-31"


def test_misspelt_conf_key_is_refused_before_anything_runs(runs: Runs) -> None:
    run_id = runs.trigger(asof="2026-01-31")
    state, tasks, tries = runs.finish(run_id)
    assert state == "failed"
    assert tasks["prepare_schema"] == "failed"
    assert tries["prepare_schema"] == 1, "a typing error was retried"
    assert not runs.calls(run_id)
    assert "configuration has 'asof'; expected only as_of, glmm_weeks" in runs.log(run_id, "prepare_schema")


def test_today_is_refused_before_anything_runs(runs: Runs) -> None:
    run_id = runs.trigger(as_of=datetime.now(UTC).date().isoformat())
    _, tasks, tries = runs.finish(run_id)
    assert (tasks["prepare_schema"], tries["prepare_schema"]) == ("failed", 1), "time does not pass by trying again"
    assert not runs.calls(run_id)
    assert "was not over when this run was due" in runs.log(run_id, "prepare_schema")


def test_conf_value_of_the_wrong_kind_is_refused_at_the_trigger(runs: Runs) -> None:
    for conf in ({"model": "4PL"}, {"irt_window_days": 0}, {"as_of": "31.01.2026"}):
        with pytest.raises(AssertionError, match="400"):
            runs.trigger(**conf)


def test_temporary_failure_is_retried_and_a_refusal_is_not(runs: Runs) -> None:
    runs.exits("prepare_schema", 75)
    runs.exits("features_backfill", 65)
    run_id = runs.trigger(as_of="2026-01-31")
    state, tasks, tries = runs.finish(run_id)
    assert state == "failed"
    assert (tasks["prepare_schema"], tries["prepare_schema"]) == ("success", 2)
    assert (tasks["features_backfill"], tries["features_backfill"]) == ("failed", 1)
    assert tasks["generate_weekly_report"] == "upstream_failed", "a report without KPIs"
    assert "prepare_schema was called" in runs.log(run_id, "prepare_schema")
    assert "exit code 65, refused to publish" in runs.log(run_id, "features_backfill")


def test_day_of_a_refused_calibration_is_computed_from_the_last_one_and_fails(runs: Runs) -> None:
    """One odd night's answers must cost teachers neither KPIs nor report, and must not go by unseen."""
    runs.exits("mirt_calibrate", 65, 1)
    run_id = runs.trigger(as_of="2026-01-31")
    state, tasks, tries = runs.finish(run_id)
    assert state == "failed"
    assert (tasks["mirt_calibrate"], tries["mirt_calibrate"]) == ("failed", 1)
    assert tasks["all_branches_ok"] == "upstream_failed"
    assert {name: tasks[name] for name in JOBS if name != "mirt_calibrate"} == {
        name: "success" for name in JOBS if name != "mirt_calibrate"
    }
    assert "rests on what was published before" in runs.log(run_id, "features_backfill")

    # The same run, the calibration cleared with what comes after it: this time it has a defect.
    runs.call(
        "POST",
        f"{DAG}/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": ["mirt_calibrate"],
            "include_downstream": True,
            "only_failed": False,
        },
    )
    runs.await_call(run_id, "mirt_calibrate", count=2)
    state, tasks, _ = runs.finish(run_id)
    assert state == "failed"
    assert tasks["features_backfill"] == "failed"
    assert tasks["compute_daily_kpis"] == "upstream_failed"
    assert [call["job"] for call in runs.calls(run_id)].count("features_backfill") == 1, "on what a defect left"
    assert "did not refuse to publish" in runs.log(run_id, "features_backfill", 2)


def test_failed_branch_fails_the_run_and_neither_report_nor_the_other_branches(runs: Runs, webhook: Webhook) -> None:
    runs.exits("cluster_segments", 1)
    runs.exits("forecast_prophet", 64)
    run_id = runs.trigger(as_of="2026-01-31")
    state, tasks, _ = runs.finish(run_id)
    assert {branch: tasks[branch] for branch in BRANCHES} == {
        branch: "failed" if branch in ("cluster_segments", "forecast_prophet") else "success" for branch in BRANCHES
    }
    assert tasks["generate_weekly_report"] == "success"
    assert tasks["all_branches_ok"] == "upstream_failed"
    assert state == "failed"
    ((path, message),) = webhook.posted
    assert path == f"/services/T0/B0/{PASSWORD}"
    assert message.keys() == {"text"}
    first, *reasons, link = message["text"].splitlines()
    assert first == "irt_analytics_daily failed: as_of 2026-01-31, tenant default"
    assert sorted(reasons) == [
        "• cluster_segments: cluster_segments ended with exit code 1, a defect; not retried: "
        "&lt;cluster_segments&gt; says why",
        "• forecast_prophet: forecast_prophet ended with exit code 64, bad configuration or input; not retried: "
        "&lt;forecast_prophet&gt; says why",
    ]
    assert link == f"{runs.airflow.url}/dags/irt_analytics_daily/runs/{quote(run_id)}"


def test_run_that_fails_early_is_told_of_once_too(runs: Runs, webhook: Webhook) -> None:
    """The task that tells is the last one, behind eleven that never ran."""
    run_id = runs.trigger(asof="2026-01-31")
    assert runs.finish(run_id)[0] == "failed"
    ((_, message),) = webhook.posted
    assert "\n• prepare_schema: the run's configuration has 'asof'; expected only as_of" in message["text"]
    assert "mirt_calibrate" not in message["text"], "a task that never ran did not fail"


@pytest.mark.parametrize("status", [503, 404])
def test_webhook_that_is_down_or_wrong_changes_nothing_but_its_own_task(
    runs: Runs, webhook: Webhook, status: int
) -> None:
    webhook.status = status
    runs.exits("prepare_schema", 65)
    run_id = runs.trigger(as_of="2026-01-31")
    state, tasks, tries = runs.finish(run_id)
    assert (state, tasks["prepare_schema"], tasks["all_branches_ok"]) == ("failed", "failed", "upstream_failed")
    assert (tasks["notify_if_failed"], tries["notify_if_failed"]) == ("failed", 3 if status == 503 else 1)
    log = runs.log(run_id, "notify_if_failed", tries["notify_if_failed"])
    assert f"connection 'irt_notifications': the webhook answered {status}" in log


def test_without_the_connection_nobody_is_told_and_nothing_fails(runs: Runs, webhook: Webhook) -> None:
    runs.airflow.write_connections({name: one for name, one in runs.connections.items() if name != "irt_notifications"})
    runs.exits("prepare_schema", 65)
    run_id = runs.trigger(as_of="2026-01-31")
    state, tasks, _ = runs.finish(run_id)
    assert (state, tasks["notify_if_failed"]) == ("failed", "success")
    assert not webhook.posted
    assert "no connection 'irt_notifications': nobody is told" in runs.log(run_id, "notify_if_failed")


def test_sigterm_to_a_task_is_a_retry_and_leaves_no_job_behind(runs: Runs) -> None:
    """A worker that is asked to stop must not count the half-done job as done."""
    (runs.folder / "prepare_schema.wait").touch()
    runs.exits("mirt_calibrate", 64)
    run_id = runs.trigger(as_of="2026-01-31")
    job = psutil.Process(runs.await_call(run_id, "prepare_schema")["pid"])
    task = job.parents()[1]
    task.send_signal(signal.SIGTERM)
    again = runs.await_call(run_id, "prepare_schema", count=2)
    assert again["try_number"] == 2
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
    (runs.folder / "prepare_schema.wait").unlink()
    _, tasks, _ = runs.finish(run_id)
    assert tasks["prepare_schema"] == "success"
    assert "prepare_schema was killed together with its task" in runs.log(run_id, "prepare_schema")


def test_run_marked_as_failed_ends_its_job_at_once(runs: Runs) -> None:
    (runs.folder / "prepare_schema.wait").touch()
    run_id = runs.trigger(as_of="2026-01-31")
    job = psutil.Process(runs.await_call(run_id, "prepare_schema")["pid"])
    runs.call("PATCH", f"{DAG}/dagRuns/{run_id}", json={"state": "failed"})
    give_up = time.monotonic() + 60
    while job.is_running() and job.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up, "the job of a run marked as failed works on"
        time.sleep(0.2)
    assert runs.finish(run_id)[0] == "failed"


def test_password_is_in_no_log_no_rendered_field_and_no_xcom(runs: Runs) -> None:
    """Last, for it looks at all that the tests before it left."""
    logs = list(runs.airflow.place.folder.rglob("*.log"))
    assert any(path.is_relative_to(runs.airflow.home / "logs") for path in logs)
    assert not [path for path in logs if PASSWORD in path.read_text(errors="replace")]
    for run in runs.call("GET", f"{DAG}/dagRuns", params={"limit": 100})["dag_runs"]:
        run_id = run["dag_run_id"]
        xcoms = runs.call("GET", f"{DAG}/dagRuns/{run_id}/taskInstances/~/xcomEntries", params={"limit": 100})
        shown = [xcoms, *runs.tasks(run_id).values()]
        assert PASSWORD not in json.dumps(shown)
