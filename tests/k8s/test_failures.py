"""Failures provoked in the installed product: what becomes of the task and its retry, of pods and Secrets, of the data.

A task of a day that has ended well is cleared and disturbed on its way. Whatever happened, the day's tables must end as
they were: nothing lost, nothing twice. What takes longest runs in `make prove`.
"""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.k8s.conftest import CONF, DAY
from tests.k8s.installation import (
    Json,
    airflow,
    await_nothing_left,
    await_state,
    await_true,
    clear,
    held,
    job_pods,
    live,
    log,
    mark,
    pods_of,
    processes,
    results,
    send,
    tasks,
    waiting_pod,
)

from irt_analytics.demo.airflow import AirflowError
from irt_analytics.deploy.cluster import ClusterError, await_rollout, kubectl
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.deploy.run import TENANT, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

#: What each branch writes last, having written something else before.
BRANCHES = {
    "cluster_segments": "user_segments",
    "fit_survival_churn": "survival_risk",
    "forecast_prophet": "prophet_anomalies",
    "fit_bayesian_growth": "growth_learner",
    "fit_glmm": "growth_glmm_meta",
}
#: The local cluster's kubelet.
KUBELET = Path("/run/irt-cluster/kubelet.pid")
#: The one cleared where one is enough: it needs no service, and writes three tables.
JOB, LAST_TABLE = "features_backfill", "features_topic_daily"


@pytest.fixture(scope="module")
def undisturbed(day: Run) -> dict[str, str]:  # noqa: ARG001
    """The tables as the day left them."""
    return results()


@pytest.fixture(autouse=True)
def whole_at_the_end(undisturbed: dict[str, str]) -> Iterator[None]:
    """After every test: the tables are as they were, and no pod and no Secret is left."""
    yield
    await_nothing_left()
    assert results() == undisturbed


def stop_in_the_middle(connection: psycopg.Connection[tuple[object, ...]], job: str = JOB) -> Json:
    """Wait until a cleared job has written and waits to write more; gives its pod."""
    return await_true(f"{job} writes", lambda: waiting_pod(connection, job))


def deleted(pod: Json) -> None:
    kubectl("delete", "pod", pod["metadata"]["name"], "-n", JOBS_NAMESPACE, "--wait=false")


def evicted(pod: Json) -> None:
    """As a node's drain does it: refused while a budget forbids it, and then done."""
    name = pod["metadata"]["name"]
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "forbids", "namespace": JOBS_NAMESPACE},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"task_id": pod["metadata"]["labels"]["task_id"]}}},
    }
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": JOBS_NAMESPACE},
    }

    def evict() -> str:
        path = f"/api/v1/namespaces/{JOBS_NAMESPACE}/pods/{name}/eviction"
        ended = subprocess.run(
            ["kubectl", "create", "--raw", path, "-f", "-"], input=json.dumps(eviction), capture_output=True, text=True
        )
        return ended.stdout + ended.stderr

    kubectl("apply", "-f", "-", stdin=json.dumps(budget))
    try:
        await_true("the budget counts", lambda: "disruption budget" in evict(), seconds=30)
    finally:
        kubectl("delete", "poddisruptionbudget", "forbids", "-n", JOBS_NAMESPACE)
    await_true("the eviction", lambda: '"status":"Success"' in evict(), seconds=30)


def terminated(pod: Json) -> None:
    send(signal.SIGTERM, pod, "irt_analytics")


def killed(pod: Json) -> None:
    send(signal.SIGKILL, pod, "irt_analytics")


#: What happens to a branch's pod, and what its task's log must say of it (a pattern).
HAPPENINGS: dict[str, tuple[Callable[[Json], None], str]] = {
    "cluster_segments": (terminated, "exit code 143, terminated"),
    "fit_survival_churn": (killed, "exit code 137"),
    "forecast_prophet": (killed, "exit code 137"),
    # a pod that somebody deletes may be gone before its end can be read
    "fit_bayesian_growth": (evicted, "EvictionByEvictionAPI|is gone: it was deleted"),
    "fit_glmm": (deleted, "exit code 143, terminated|is gone: it was deleted"),
}


@pytest.mark.prove
def test_a_job_that_is_ended_from_outside_in_the_middle_of_writing_runs_again(day: Run) -> None:
    """SIGTERM, SIGKILL, a drained node, a deleted pod: each branch gets one, and each is retried."""
    before = tasks(day.run_id)
    clear(day.run_id, *BRANCHES)
    left = dict(HAPPENINGS)
    with held(*BRANCHES.values()) as connection:
        # the node has room for two of them at a time
        while left:
            job, pod = await_true(
                f"one of {', '.join(left)} writes",
                lambda: next(((job, pod) for job in left if (pod := waiting_pod(connection, job))), None),
                seconds=600,
            )
            happens, _ = left.pop(job)
            happens(pod)
            await_state(day.run_id, {job: "up_for_retry"}, seconds=120)
    retry_now(day.run_id)
    after = await_state(day.run_id, dict.fromkeys(BRANCHES, "success"), seconds=900)
    for job, (_, message) in HAPPENINGS.items():
        first = before[job]["try_number"] + 1
        assert after[job]["try_number"] == first + 1, job
        assert re.search(message, log(day.run_id, job, first)), job


def test_a_database_that_restarts_while_a_job_writes_is_waited_for(day: Run) -> None:
    """Airflow's metadata is in the same server: the scheduler lives through that, too."""
    before = tasks(day.run_id)[JOB]["try_number"]
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        stop_in_the_middle(connection)
        restarts = restarts_of("irt-postgres")
        stop = "/usr/lib/postgresql/15/bin/pg_ctl stop -m immediate --no-wait"
        kubectl("exec", "-n", AIRFLOW_NAMESPACE, "deployment/irt-postgres", "--", "sh", "-c", stop)
        await_true("PostgreSQL restarts", lambda: restarts_of("irt-postgres") > restarts)
    await_rollout("deployment", "irt-postgres", AIRFLOW_NAMESPACE)
    await_true("Airflow is back, and the task to be retried", lambda: is_to_be_retried(day.run_id, JOB), seconds=300)
    retry_now(day.run_id)
    after = await_state(day.run_id, {JOB: "success"})[JOB]
    assert after["try_number"] == before + 2
    assert "exit code 75, temporary" in log(day.run_id, JOB, before + 1)


def restarts_of(deployment: str) -> int:
    """How often the container of a deployment's one pod was restarted."""
    (pod,) = pods_of(deployment)
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def is_to_be_retried(run_id: str, task: str) -> bool:
    """Whether a task waits for its retry; no, while Airflow does not answer."""
    try:
        return bool(tasks(run_id)[task]["state"] == "up_for_retry")
    except (AirflowError, ClusterError):
        return False


def retry_now(run_id: str) -> None:
    """Do not wait until the next tries are due, which takes the longer the more there were."""
    due = [name for name, task in tasks(run_id).items() if task["state"] == "up_for_retry"]
    if due:
        clear(run_id, *due)


@pytest.mark.prove
def test_a_service_that_is_lost_in_the_middle_of_a_fit_is_asked_again(day: Run) -> None:
    job, service = "fit_bayesian_growth", "r-brms-plumber"
    before = tasks(day.run_id)[job]["try_number"]
    # a service that has fitted these answers before gives that fit again
    kubectl("rollout", "restart", f"deployment/{service}", "-n", AIRFLOW_NAMESPACE)
    await_rollout("deployment", service, AIRFLOW_NAMESPACE)
    await_true("the one before is gone", lambda: len(pods_of(service)) == 1)
    (pod,) = pods_of(service)
    idle = len(processes(pod))
    clear(day.run_id, job)
    await_true("the fit runs in a process of its own", lambda: len(processes(pod)) > idle)
    kubectl("delete", "pod", pod["metadata"]["name"], "-n", AIRFLOW_NAMESPACE, "--grace-period=0", "--force")
    await_state(day.run_id, {job: "up_for_retry"})
    retry_now(day.run_id)
    after = await_state(day.run_id, {job: "success"})[job]
    assert after["try_number"] == before + 2
    assert "exit code 75, temporary" in log(day.run_id, job, before + 1)


def kill_task(signal_number: int, run_id: str, task: str) -> None:
    """Send a signal to the process of the scheduler's pod that follows a task's pod."""
    (scheduler,) = live(pods_of("airflow-scheduler"))
    send(signal_number, scheduler, f"airflow worker -- {tasks(run_id)[task]['id']}")


@pytest.mark.prove
def test_a_task_whose_process_is_killed_finds_its_pod_again(day: Run) -> None:
    """The job is not run twice, and its log is whole."""
    before = tasks(day.run_id)[JOB]["try_number"]
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        pod = stop_in_the_middle(connection)
        said = kubectl("logs", "-n", JOBS_NAMESPACE, pod["metadata"]["name"]).splitlines()
        kill_task(signal.SIGKILL, day.run_id, JOB)
        await_state(day.run_id, {JOB: "up_for_retry"}, seconds=120)
        retry_now(day.run_id)
        adopted = f"Adopting pod {pod['metadata']['name']}"
        await_true("the next try adopts the pod", lambda: adopted in log(day.run_id, JOB, before + 2))
        assert [one["metadata"]["uid"] for one in live(job_pods(JOB))] == [pod["metadata"]["uid"]]
    after = await_state(day.run_id, {JOB: "success"})[JOB]
    assert after["try_number"] == before + 2
    text = log(day.run_id, JOB, before + 2)
    assert f"{JOB} ended after" in text
    assert said
    assert [line for line in said if json.dumps(line, ensure_ascii=False)[1:-1] not in text] == []


@pytest.mark.prove
def test_a_task_that_is_stopped_never_counts_as_done(day: Run) -> None:
    """Ten SIGTERMs to the process of a task, each at another moment of its life: ten retries."""
    moments = random.Random(20260131)
    for _ in range(5):
        two = ("cluster_segments", "fit_survival_churn")
        before = tasks(day.run_id)
        clear(day.run_id, *two)
        for job in two:
            await_state(day.run_id, {job: "running"})
            time.sleep(moments.uniform(0, 6))
            kill_task(signal.SIGTERM, day.run_id, job)
        found = await_state(day.run_id, dict.fromkeys(two, "up_for_retry"), seconds=120)
        assert {job: found[job]["try_number"] for job in two} == {job: before[job]["try_number"] + 1 for job in two}
    retry_now(day.run_id)
    await_state(day.run_id, dict.fromkeys(two, "success"))


@pytest.mark.prove
def test_a_scheduler_that_restarts_takes_its_tasks_up_again(day: Run) -> None:
    """Its tasks stop their jobs; where they have no time to, the next try adopts what is at work. Never two at once."""
    before = tasks(day.run_id)[JOB]["try_number"]
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        stop_in_the_middle(connection)
        (scheduler,) = pods_of("airflow-scheduler")
        kubectl("delete", "pod", scheduler["metadata"]["name"], "-n", AIRFLOW_NAMESPACE, "--wait=true")
        await_rollout("deployment", "airflow-scheduler", AIRFLOW_NAMESPACE)
        # a task that nobody follows any more is missed after Airflow's five minutes
        await_true("it is missed", lambda: is_missed(day.run_id, before + 1), seconds=600)
        retry_now(day.run_id)
        await_true("it is tried again", lambda: tasks(day.run_id)[JOB]["try_number"] == before + 2)
        await_true("a pod writes", lambda: waiting_pod(connection, JOB))
        assert len(uids(JOB)) == 1
    assert await_state(day.run_id, {JOB: "success"})[JOB]["try_number"] == before + 2


def is_missed(run_id: str, try_number: int) -> bool:
    """Whether a try of the job is over for Airflow."""
    task = tasks(run_id)[JOB]
    return bool(task["state"] == "up_for_retry" or task["try_number"] > try_number)


@pytest.mark.prove
def test_an_api_server_that_is_away_for_half_a_minute_is_not_missed(day: Run) -> None:
    before = tasks(day.run_id)[JOB]["try_number"]
    clear(day.run_id, JOB)
    scale = ("scale", "deployment/airflow-api-server", "-n", AIRFLOW_NAMESPACE)
    with held(LAST_TABLE) as connection:
        stop_in_the_middle(connection)
        kubectl(*scale, "--replicas=0")
        await_true("it is gone", lambda: not pods_of("airflow-api-server"))
        time.sleep(30)
        kubectl(*scale, "--replicas=1")
    await_rollout("deployment", "airflow-api-server", AIRFLOW_NAMESPACE)
    assert await_state(day.run_id, {JOB: "success"})[JOB]["try_number"] == before + 1


@pytest.mark.prove
def test_a_node_that_is_out_of_reach_for_a_minute_goes_on(day: Run) -> None:
    before = tasks(day.run_id)[JOB]["try_number"]
    clear(day.run_id, JOB)
    kubelet = int(KUBELET.read_text())
    with held(LAST_TABLE) as connection:
        stop_in_the_middle(connection)
        os.kill(kubelet, signal.SIGSTOP)
        try:
            await_true("the node is given up", lambda: node_condition() != "True", seconds=120)
            time.sleep(20)
        finally:
            os.kill(kubelet, signal.SIGCONT)
        await_true("the node is back", lambda: node_condition() == "True", seconds=120)
    assert await_state(day.run_id, {JOB: "success"})[JOB]["try_number"] == before + 1


def node_condition() -> str:
    path = "{.items[0].status.conditions[?(@.type=='Ready')].status}"
    return kubectl("get", "nodes", "-o", f"jsonpath={path}")


def test_a_task_that_is_marked_failed_stops_its_job(day: Run) -> None:
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        pod = stop_in_the_middle(connection)
        mark(day.run_id, JOB, "failed")
        await_true("its pod is gone", lambda: pod["metadata"]["uid"] not in uids(JOB), seconds=90)
    assert tasks(day.run_id)[JOB]["state"] == "failed"
    clear(day.run_id, JOB)
    await_state(day.run_id, {JOB: "success"})


def another_than(first: Json, pod: Json | None) -> Json | None:
    return pod if pod is not None and pod["metadata"]["uid"] != first["metadata"]["uid"] else None


def uids(job: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in job_pods(job)]


def test_a_task_that_is_cleared_while_it_runs_starts_again(day: Run) -> None:
    """The next try waits until the first pod is gone, and does not adopt it."""
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        first = stop_in_the_middle(connection)
        clear(day.run_id, JOB)
        second = await_true("another pod writes", lambda: another_than(first, waiting_pod(connection, JOB)))
        assert uids(JOB) == [second["metadata"]["uid"]]
    await_state(day.run_id, {JOB: "success"})


@pytest.mark.prove
def test_two_triggers_of_a_day_give_the_day_twice(day: Run) -> None:  # noqa: ARG001
    """One after the other, and the second replaces what the first wrote by the same."""
    with airflow() as client:
        runs = [client.trigger({"as_of": DAY.isoformat(), "tenant": TENANT, **CONF}) for _ in range(2)]
    for run_id in runs:
        await_state(run_id, {"all_branches_ok": "success"}, seconds=1200)


@pytest.mark.prove
def test_what_a_lost_worker_left_behind_is_cleaned_up(day: Run) -> None:
    """Pods that have ended go by the clean-up's next turn; those at work stay."""
    clear(day.run_id, JOB)
    with held(LAST_TABLE) as connection:
        model = stop_in_the_middle(connection)
    await_state(day.run_id, {JOB: "success"})
    await_nothing_left()
    for name, script in (("left-behind", "exit 1"), ("at-work", "exec sleep 600")):
        kubectl("apply", "-f", "-", stdin=json.dumps(like(model, name, script)))
    await_true("one has ended", lambda: {"Failed", "Running"} == {pod["status"]["phase"] for pod in job_pods()})
    time.sleep(65)  # the clean-up leaves what ended within the last minute to the task
    here = ("-n", JOBS_NAMESPACE)
    kubectl("create", "job", "clean-up-now", "--from=cronjob/irt-jobs-cleanup", *here)
    try:
        kubectl("wait", "--for=condition=complete", "job/clean-up-now", "--timeout=180s", *here)
        assert [pod["metadata"]["name"] for pod in job_pods()] == ["at-work"]
    finally:
        kubectl("delete", "job/clean-up-now", *here)
        kubectl("delete", "pod", "at-work", "--grace-period=0", "--force", *here)


def like(pod: Json, name: str, script: str) -> Json:
    """A pod that is labelled and admitted as a job's, and runs a script."""
    (container,) = pod["spec"]["containers"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": JOBS_NAMESPACE, "labels": pod["metadata"]["labels"]},
        "spec": {
            **{key: pod["spec"][key] for key in ("restartPolicy", "securityContext", "automountServiceAccountToken")},
            "containers": [
                {key: container[key] for key in ("name", "image", "securityContext")}
                | {"command": ["sh", "-c", script]}
            ],
        },
    }
