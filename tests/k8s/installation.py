"""The installed product from outside: Airflow's API, the answers' database, pods, and the processes behind them."""

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from kubernetes import client, config
from psycopg import sql
from tests.databases import settings_of
from tests.integration.chain import contents

from irt_analytics.demo.airflow import DAG_ID, AirflowError, Client
from irt_analytics.deploy.cluster import forwarded, kubectl, read_secret
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.settings import Settings

Json = dict[str, Any]
T = TypeVar("T")
#: As a process of ours sees a pod's cgroup, its uid has underscores or hyphens.
_UID = str.maketrans("_", "-")


@contextmanager
def airflow() -> Iterator[Client]:
    """Airflow's REST API as its administrator."""
    secret = read_secret("airflow-secrets", AIRFLOW_NAMESPACE)
    assert secret is not None
    with forwarded("service/airflow-api-server", 8080, AIRFLOW_NAMESPACE) as port:
        api = Client(f"http://127.0.0.1:{port}")
        api.log_in(secret["admin-password"])
        yield api


def answers_url() -> str:
    """Where a pod finds the answers."""
    found = read_secret("calibrate-irt-credentials", AIRFLOW_NAMESPACE)
    assert found is not None
    return found["DATABASE_URL"]


@contextmanager
def answers() -> Iterator[Settings]:
    """A job's settings for the answers' database, as this machine reaches it."""
    with forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port:
        yield settings_of(psycopg.conninfo.make_conninfo(answers_url(), hostaddr="127.0.0.1", port=port))


def results() -> dict[str, str]:
    """A digest of each table."""
    with answers() as settings:
        return contents(settings)


@contextmanager
def held(*tables: str) -> Iterator[psycopg.Connection[Any]]:
    """Let nobody write these tables: a job that has come so far waits in the middle of its transaction."""
    with answers() as settings:
        connection = psycopg.connect(settings.database_url.get_secret_value())
        names = sql.SQL(", ").join(map(sql.Identifier, tables))
        connection.execute(sql.SQL("lock table {} in share mode").format(names))
        try:
            yield connection
        finally:
            connection.close()  # and so its lock goes


def waiting(connection: psycopg.Connection[Any]) -> set[str]:
    """Addresses of the pods whose jobs wait for a table."""
    connection.execute("select pg_stat_clear_snapshot()")  # a transaction sees sessions as they were at its first look
    rows = connection.execute(
        "select host(client_addr) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    return {row[0] for row in rows}


def job_pods(job: str = "") -> list[Json]:
    """The pods of jobs, or of one job, that are there."""
    selector = "kubernetes_pod_operator=True" + (f",app.kubernetes.io/component={job}" if job else "")
    config.load_kube_config()
    answer = client.CoreV1Api().list_namespaced_pod(JOBS_NAMESPACE, label_selector=selector, _preload_content=False)
    found: list[Json] = json.loads(answer.data)["items"]
    return found


def live(pods: Collection[Json]) -> list[Json]:
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and pod["status"]["phase"] == "Running"]


def pods_of(deployment: str) -> list[Json]:
    """The pods of one of the product's deployments."""
    found: Json = json.loads(kubectl("get", "deployment", deployment, "-n", AIRFLOW_NAMESPACE, "-o", "json"))
    labels = ",".join(f"{name}={value}" for name, value in found["spec"]["selector"]["matchLabels"].items())
    pods: list[Json] = json.loads(kubectl("get", "pods", "-n", AIRFLOW_NAMESPACE, "-l", labels, "-o", "json"))["items"]
    return pods


def waiting_pod(connection: psycopg.Connection[Any], job: str) -> Json | None:
    """The live pod of a job that waits in the middle of its transaction."""
    addresses = waiting(connection)
    return next((pod for pod in live(job_pods(job)) if pod["status"].get("podIP") in addresses), None)


def processes(pod: Json) -> dict[int, str]:
    """The processes of a pod as this machine has them, with their commands; without the sandbox's."""
    uid, found = pod["metadata"]["uid"], {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            cgroup = (folder / "cgroup").read_text().translate(_UID)
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if uid in cgroup and command not in ("", "/pause"):
            found[int(folder.name)] = command
    return found


def send(signal_number: int, pod: Json, command: str) -> None:
    """Send a signal to the one process of a pod whose command has this in it."""
    (process,) = [number for number, line in processes(pod).items() if command in line]
    os.kill(process, signal_number)


def await_true(what: str, look: Callable[[], T | None], seconds: float = 300) -> T:
    """What `look` gives as soon as it gives something."""
    give_up = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < give_up, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


def clear(run_id: str, *tasks: str) -> None:
    """Let tasks of a run run again, and nothing after them, as a person does in the UI."""
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": list(tasks),
        "only_failed": False,
        "reset_dag_runs": True,
        "include_downstream": False,
        "include_upstream": False,
    }
    with airflow() as api:
        api.request("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", json=body)


def mark(run_id: str, task: str, state: str) -> None:
    """Give a task a state, as a person does in the UI."""
    with airflow() as api:
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}"
        api.request("PATCH", path, json={"new_state": state})


def tasks(run_id: str) -> dict[str, Json]:
    """The tasks of a run, by id."""
    with airflow() as api:
        return {task["task_id"]: task for task in api.tasks(run_id)}


def await_state(run_id: str, wanted: Mapping[str, str], seconds: float = 600) -> dict[str, Json]:
    """The tasks of a run once these are in these states.

    A state that no task leaves by itself, and that is not the wanted one, fails at once.
    """
    give_up = time.monotonic() + seconds
    with airflow() as api:
        while True:
            found = {task["task_id"]: task for task in api.tasks(run_id)}
            states = {task: found[task]["state"] for task in wanted}
            if states == wanted:
                return found
            lost = {task: state for task, state in states.items() if state == "failed" != wanted[task]}
            assert not lost, {task: log(run_id, task, found[task]["try_number"])[-3000:] for task in lost}
            assert time.monotonic() < give_up, states
            time.sleep(1)


def log(run_id: str, task: str, try_number: int) -> str:
    """What a try of a task logged."""
    with airflow() as api:
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}/logs/{try_number}"
        try:
            return json.dumps(api.request("GET", path, params={"full_content": True}), ensure_ascii=False)
        except AirflowError as error:
            return str(error)


def leftovers() -> str:
    """Names of what jobs have left in their namespace."""
    pods = kubectl("get", "pods", "-n", JOBS_NAMESPACE, "-l", "kubernetes_pod_operator=True", "-o", "name")
    return pods + kubectl("get", "secrets", "-n", JOBS_NAMESPACE, "--field-selector=type=Opaque", "-o", "name")


def await_nothing_left() -> None:
    """Garbage collection takes its time."""
    await_true("pods and Secrets of jobs are gone", lambda: not leftovers(), seconds=120)
