"""One run of the Dag in a trial, from a log to the report's address: `make k8s-demo`."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg

from irt_analytics.demo.airflow import DAG_ID, AirflowError, Client, Json, UnreachableError
from irt_analytics.demo.follow import Told, seconds_of
from irt_analytics.deploy.cluster import ClusterError, forwarded, read_secret
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE
from irt_analytics.errors import ConfigurationError

TENANT = "default"
POLL_SECONDS = 2.0
READY_SECONDS = 300.0
REPORTS = """
    select format, url
    from report_artifacts
    where tenant_id = %s and as_of = %s and scope = 'cohort' and format in ('html', 'pdf')
    order by format
"""


@dataclass(frozen=True)
class Run:
    """A run that ended well: its id, seconds a task, and where its report lies."""

    run_id: str
    seconds: Mapping[str, float]
    reports: Mapping[str, str]


def load(arguments: Sequence[str], say: Callable[[str], None]) -> date:
    """Put a log into the trial's database with one of this package's commands; returns the day of its last answer.

    Raises:
        ConfigurationError: there is no trial, or its answers lie elsewhere.
        ClusterError: the log cannot be loaded; the command has said why.
    """
    url = _answers_url()
    with forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port:
        local = psycopg.conninfo.make_conninfo(url, hostaddr="127.0.0.1", port=port)
        with psycopg.connect(local) as connection:
            here = _uri(connection)
        environment = {**os.environ, "DATABASE_URL": here}
        today = datetime.now(UTC).date()
        for command in (("prepare_schema", "--as-of", str(today), "--tenant", TENANT), arguments):
            ended = subprocess.run([sys.executable, "-m", "irt_analytics", *command], env=environment, check=False)
            if ended.returncode:
                raise ClusterError(f"irt_analytics {command[0]} ended with exit code {ended.returncode}")
        with psycopg.connect(here) as connection:
            row = connection.execute(
                "select max(completed_at) from attempt_log where tenant_id = %s", [TENANT]
            ).fetchone()
    assert row is not None
    last: datetime | None = row[0]
    if last is None:
        raise ConfigurationError("the log holds no answer")
    say(f"loaded; its last answer is of {last:%Y-%m-%d}")
    return last.date()


def run_day(day: date, conf: Mapping[str, str], say: Callable[[str], None]) -> Run:
    """Trigger the Dag through Airflow's REST API and follow it to its end.

    Raises:
        ClusterError: there is no trial.
        AirflowError: the run failed; names the tasks.
    """
    secret = read_secret("airflow-secrets", AIRFLOW_NAMESPACE)
    if secret is None:
        raise ConfigurationError("there is no trial in this cluster: run `make k8s-up` first")
    password = secret["admin-password"]
    with _airflow(password) as client:
        _await_dag(client)
        client.pause(False)
        run_id = client.trigger({"as_of": day.isoformat(), "tenant": TENANT, **conf})
    say(f"run {run_id} for {day}")
    state, tasks = _follow(password, run_id, say)
    if state == "failed":
        failed = ", ".join(task["task_id"] for task in tasks if task["state"] == "failed")
        raise AirflowError(f"run {run_id} failed in {failed}; their logs are in Airflow's UI")
    return Run(run_id, seconds_of(tasks), reports(day))


def reports(day: date) -> dict[str, str]:
    """Return the addresses of a day's cohort reports by format."""
    url = _answers_url()
    with (
        forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port,
        psycopg.connect(url, hostaddr="127.0.0.1", port=port) as connection,
    ):
        return dict(connection.execute(REPORTS, [TENANT, day]).fetchall())


def _answers_url() -> str:
    secret = read_secret("calibrate-irt-credentials", AIRFLOW_NAMESPACE)
    if secret is None:
        raise ConfigurationError("there is no trial in this cluster: run `make k8s-up` first")
    if "irt-postgres" not in secret["DATABASE_URL"]:
        raise ConfigurationError("this installation's answers are in a database of your own: trigger the Dag there")
    return secret["DATABASE_URL"]


def _uri(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """The address of an open connection with its password, for a command that connects itself."""
    info = connection.info
    return f"postgresql://{info.user}:{info.password}@127.0.0.1:{info.port}/{info.dbname}?sslmode=disable"


def _await_dag(client: Client) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if client.ready(None):
                return
        except UnreachableError:
            pass  # the API server restarts
        if time.monotonic() > deadline:
            raise AirflowError(
                f"{DAG_ID} was not there within {READY_SECONDS:.0f} s: see the log of airflow-dag-processor"
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def _airflow(password: str) -> Iterator[Client]:
    """Airflow's REST API as its administrator."""
    with forwarded("service/airflow-api-server", 8080, AIRFLOW_NAMESPACE) as port:
        client = Client(f"http://127.0.0.1:{port}")
        client.log_in(password)
        yield client


def _follow(password: str, run_id: str, say: Callable[[str], None]) -> tuple[str, list[Json]]:
    """Tell of each task as it ends; returns the run's last state and its tasks."""
    told, give_up = Told(say), time.monotonic() + READY_SECONDS
    while True:
        try:
            with _airflow(password) as client:
                while True:
                    state, tasks = told.look(client, run_id)
                    if state in ("success", "failed"):
                        return state, tasks
                    give_up = time.monotonic() + READY_SECONDS
                    time.sleep(POLL_SECONDS)
        except (UnreachableError, ClusterError):
            # the API server's pod was replaced, and the way to it with it; the run goes on without
            if time.monotonic() > give_up:
                raise
            time.sleep(POLL_SECONDS)
