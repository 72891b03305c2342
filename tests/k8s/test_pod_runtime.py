"""One job as a real pod: how its end becomes the task's, what a second try finds, and who sees the credentials."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from kubernetes import client
from tests.k8s.conftest import Cluster

from irt_airflow.pipeline_pod import PipelinePodOperator
from irt_airflow.pod import PodRuntime
from irt_airflow.profiles import compute_profile
from irt_airflow.spec import JobSpec

PASSWORD = "correct-horse-battery"
SECRET = {"DATABASE_URL": f"postgresql://analyst:{PASSWORD}@db/answers"}
pytestmark = pytest.mark.slow


@pytest.fixture
def api(cluster: Cluster) -> client.CoreV1Api:  # noqa: ARG001 - configures the client
    return client.CoreV1Api()


@pytest.fixture
def make(cluster: Cluster, shell_image: str) -> Iterator[Callable[..., PodRuntime]]:
    """Make a runtime of one task for a shell script; what is left of its pods goes after the test."""
    task_id = f"probe_{uuid.uuid4().hex[:8]}"

    def runtime(script: str, **changes: Any) -> PodRuntime:
        spec = JobSpec(
            task_id=task_id,
            job="probe",
            command=("sh", "-c", script),
            environment={},
            credentials=SECRET,
            profile=replace(compute_profile("small"), memory_request="16Mi"),
            image=shell_image,
            namespace=cluster.namespace,
            time_limit=300,
        )
        return PodRuntime(spec=replace(spec, **changes))

    yield runtime
    client.CoreV1Api().delete_collection_namespaced_pod(cluster.namespace, grace_period_seconds=0)


def context(task_id: str, try_number: int = 1) -> Any:
    """What a pod needs to know of its task instance."""
    instance = SimpleNamespace(
        dag_id="probe", task_id=task_id, map_index=-1, try_number=try_number, xcom_push=lambda **_: None
    )
    return {"ti": instance, "run_id": "manual__2026-01-31", "dag": SimpleNamespace(parent_dag=None)}


def run(runtime: PodRuntime, try_number: int = 1) -> None:
    runtime.run(context(runtime.task_id, try_number))


def pods(api: client.CoreV1Api, cluster: Cluster, runtime: PodRuntime) -> list[Any]:
    labels = runtime._get_ti_pod_labels(context(runtime.task_id), include_try_number=False)
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    return list(api.list_namespaced_pod(cluster.namespace, label_selector=selector).items)


def await_running(api: client.CoreV1Api, cluster: Cluster, runtime: PodRuntime) -> Any:
    give_up = time.monotonic() + 60
    while True:
        for pod in pods(api, cluster, runtime):
            if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp:
                return pod
        assert time.monotonic() < give_up, "the pod does not run"
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("script", "message", "retried"),
    [
        ("echo '--as-of: expected a day' >&2; exit 64", "exit code 64, bad configuration.*--as-of: expected", False),
        ("exit 1", "exit code 1, a defect", False),
        ("exit 75", "exit code 75, temporary", True),
        ("exit 143", "exit code 143, terminated", True),
    ],
)
def test_exit_code_decides_on_the_retry(
    make: Callable[..., PodRuntime], script: str, message: str, retried: bool
) -> None:
    with pytest.raises(AirflowException, match=f"(?s){message}") as ended:
        run(make(script))
    assert isinstance(ended.value, AirflowFailException) is not retried


def test_arguments_and_variables_reach_the_job_to_the_letter(make: Callable[..., PodRuntime]) -> None:
    """Kubernetes reads $(NAME) and $$ in both; a tenant may be called that."""
    tenant = "a$$b$(HOME)'c\"한 글"
    script = 'test "$1" = "$TENANT" && test ${#1} -gt 10 || exit 65'
    run(make(script, command=("sh", "-c", script, "sh", tenant), environment={"TENANT": tenant}))


def test_pod_over_its_memory_limit_says_so(make: Callable[..., PodRuntime]) -> None:
    profile = replace(compute_profile("small"), memory_request="16Mi", memory_limit="32Mi")
    with pytest.raises(AirflowException, match=r"OOMKilled.*limit of 32Mi") as ended:
        run(make("head -c 200m /dev/zero | tail", profile=profile))
    assert not isinstance(ended.value, AirflowFailException)


def test_job_that_ended_well_is_done_whatever_was_killed_beside_it(make: Callable[..., PodRuntime]) -> None:
    """It had committed; a retry would do the work again."""
    profile = replace(compute_profile("small"), memory_request="16Mi", memory_limit="32Mi")
    run(make("head -c 200m /dev/zero | tail | wc -c", profile=profile))


def test_pod_over_its_deadline_says_so(make: Callable[..., PodRuntime]) -> None:
    with pytest.raises(AirflowException, match="DeadlineExceeded") as ended:
        run(make("trap 'exit 143' TERM; while :; do sleep 0.1; done", time_limit=4))
    assert not isinstance(ended.value, AirflowFailException)


def test_image_that_cannot_be_had_says_so(make: Callable[..., PodRuntime]) -> None:
    with pytest.raises(AirflowException, match=r"ErrImage|ImagePull") as ended:
        run(make("true", image="localhost/no-such-image:1"))
    assert not isinstance(ended.value, AirflowFailException)


def test_pod_that_no_node_has_room_for_says_so(
    make: Callable[..., PodRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irt_airflow.pod.SCHEDULE_TIMEOUT_SECONDS", 5)
    with pytest.raises(AirflowException, match=r"did not start: Unschedulable.*Insufficient cpu") as ended:
        run(make("true", profile=replace(compute_profile("small"), cpu_request="1000", threads=1000)))
    assert not isinstance(ended.value, AirflowFailException)


def test_a_log_that_floods_is_kept(make: Callable[..., PodRuntime], capsys: pytest.CaptureFixture[str]) -> None:
    """A line of a megabyte and a hundred thousand lines at once: none is lost, and the task ends well."""
    # containerd itself drops what a container wrote in its last moment
    run(make("head -c 1000000 /dev/zero | tr '\\0' x; echo; seq 100000; echo the last line; sleep 5"))
    said = capsys.readouterr().out
    assert "x" * 1_000_000 in said
    numbers = {int(found) for found in re.findall(r"\[info +\] (\d+) +\[", said)}
    assert numbers == set(range(1, 100_001))
    assert "] the last line" in said


def test_credentials_reach_the_job_by_a_secret_that_goes_with_the_pod(
    make: Callable[..., PodRuntime],
    api: client.CoreV1Api,
    cluster: Cluster,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    runtime = make('test "${DATABASE_URL#*correct-horse}" != "$DATABASE_URL" && sleep 4')
    seen: dict[str, Any] = {}

    def look() -> None:
        seen["pod"] = await_running(api, cluster, runtime)
        seen["secret"] = api.read_namespaced_secret(seen["pod"].metadata.name, cluster.namespace)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    run(runtime)
    watcher.join(timeout=60)
    pod, secret = seen["pod"], seen["secret"]
    assert secret.immutable is True
    (owner,) = secret.metadata.owner_references
    assert (owner.kind, owner.uid) == ("Pod", pod.metadata.uid)
    assert PASSWORD not in str(pod)
    assert PASSWORD not in caplog.text + "".join(capsys.readouterr())
    give_up = time.monotonic() + 90
    while any(
        item.metadata.name == secret.metadata.name for item in api.list_namespaced_secret(cluster.namespace).items
    ):
        assert time.monotonic() < give_up, "the credentials outlived their pod"
        time.sleep(0.5)


def test_secret_of_somebody_else_is_not_taken_for_the_pod_s(
    make: Callable[..., PodRuntime], api: client.CoreV1Api, cluster: Cluster
) -> None:
    runtime = make("true")
    build = runtime.build_pod_request_obj

    def build_beside_a_namesake(*arguments: Any, **options: Any) -> Any:
        pod = build(*arguments, **options)
        api.create_namespaced_secret(
            cluster.namespace, client.V1Secret(metadata=client.V1ObjectMeta(name=pod.metadata.name))
        )
        return pod

    runtime.build_pod_request_obj = build_beside_a_namesake  # type: ignore[method-assign]
    with pytest.raises(AirflowException, match="was not created: 409"):
        run(runtime)
    assert all(pod.metadata.deletion_timestamp for pod in pods(api, cluster, runtime)), "a pod waits for ever"


def test_next_try_adopts_the_pod_that_a_crashed_worker_left(
    make: Callable[..., PodRuntime], api: client.CoreV1Api, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it a calibration of hours would run twice at once."""
    script = "echo first line; for i in $(seq 80); do [ -e /tmp/end ] && exit 0; sleep 0.1; done"
    runtime = make(script)
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=worker_environment(runtime, script))
    pod = await_running(api, cluster, runtime)
    worker.kill()
    worker.wait()
    run(runtime, try_number=2)
    assert runtime.pod is not None
    assert runtime.pod.metadata.uid == pod.metadata.uid
    output = capsys.readouterr().out
    assert f"Adopting pod {pod.metadata.name} of try 1" in output
    assert "first line" in output, "what the job said before the crash is missing from the log"


WORKER = """
import os
from tests.k8s.conftest import use_airflow_home
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from irt_airflow.pod import PodRuntime
from irt_airflow.profiles import compute_profile
from irt_airflow.spec import JobSpec
from tests.k8s.test_pod_runtime import SECRET, run
run(PodRuntime(spec=JobSpec(
    task_id=os.environ["TASK"], job="probe", command=("sh", "-c", os.environ["SCRIPT"]), environment={},
    credentials=SECRET, profile=replace(compute_profile("small"), memory_request="16Mi"), image=os.environ["IMAGE"],
    namespace=os.environ["NAMESPACE"], time_limit=300,
)))
"""


def worker_environment(runtime: PodRuntime, script: str) -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = [root, root / "plugins", root / "include"]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "TASK": runtime.task_id,
        "SCRIPT": script,
        "IMAGE": str(runtime.image),
        "NAMESPACE": str(runtime.namespace),
    }


def test_next_try_waits_until_a_terminating_pod_is_gone(
    make: Callable[..., PodRuntime], api: client.CoreV1Api, cluster: Cluster
) -> None:
    """Adopting it would fail the try; not waiting would run two jobs side by side."""
    runtime = make("trap 'sleep 5; exit 143' TERM; while :; do sleep 0.1; done")

    def first_try() -> None:
        with suppress(AirflowException):
            run(runtime)

    worker = threading.Thread(target=first_try, daemon=True)
    worker.start()
    old = await_running(api, cluster, runtime)
    api.delete_namespaced_pod(old.metadata.name, cluster.namespace)
    again = make("exit 0")
    gone_before_start: list[bool] = []
    create = again.pod_manager.create_pod

    def create_and_look(pod: Any) -> Any:
        gone_before_start.append(not pods(api, cluster, runtime))
        return create(pod)

    again.pod_manager.create_pod = create_and_look
    run(again, try_number=2)
    assert again.pod is not None
    assert again.pod.metadata.uid != old.metadata.uid
    assert gone_before_start == [True]
    worker.join(timeout=60)


def test_task_over_its_time_stops_its_pod(
    cluster: Cluster,
    shell_image: str,
    api: client.CoreV1Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IRT_RUNTIME", "kubernetes")
    monkeypatch.setattr("irt_airflow.pod.GRACE_SECONDS", 3)
    limit = timedelta(seconds=8)
    operator = PipelinePodOperator(
        task_id="slow",
        job="probe",
        as_of="2026-01-31",
        tenant="default",
        profile="small",
        image=shell_image,
        namespace=cluster.namespace,
        command=("sh", "-c", "sleep 300"),
        execution_timeout=limit,
    )
    started = time.monotonic()
    # as Airflow's task runner does it
    with pytest.raises(AirflowTaskTimeout), timeout(limit.total_seconds()):  # type: ignore[no-untyped-call]
        operator.execute(context("slow"))
    operator.on_kill()
    assert time.monotonic() - started < 120
    assert "probe ran longer than its execution_timeout of 0:00:08" in capsys.readouterr().out
    give_up = time.monotonic() + 60
    while api.list_namespaced_pod(cluster.namespace, label_selector="task_id=slow").items:
        assert time.monotonic() < give_up, "the pod of a task that is over its time is still there"
        time.sleep(0.2)


@pytest.mark.parametrize("answer", ["exit 0", "exit 143", "exit 1", ":"])
def test_killed_task_never_counts_as_done(
    cluster: Cluster, shell_image: str, api: client.CoreV1Api, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """However the job answers SIGTERM: it ends well, rolls back, breaks, or goes on."""
    monkeypatch.setenv("IRT_RUNTIME", "kubernetes")
    script = f"trap '{answer}' TERM; while :; do sleep 0.1; done"
    operator = PipelinePodOperator(
        task_id="killed",
        job="probe",
        as_of="2026-01-31",
        tenant="default",
        profile="small",
        image=shell_image,
        namespace=cluster.namespace,
        command=("sh", "-c", script),
    )
    monkeypatch.setattr("irt_airflow.pod.GRACE_SECONDS", 3)
    previous = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())

    def alive() -> list[Any]:
        return list(api.list_namespaced_pod(cluster.namespace, label_selector="task_id=killed").items)

    def kill_when_running() -> None:
        while not any(pod.status.phase == "Running" for pod in alive()):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=kill_when_running, daemon=True)
    killer.start()
    try:
        with pytest.raises(AirflowException, match="probe was killed together with its task") as ended:
            operator.execute(context("killed"))
        assert not isinstance(ended.value, AirflowFailException)
    finally:
        killer.join(timeout=60)
        signal.signal(signal.SIGTERM, previous)
    give_up = time.monotonic() + 30
    while alive():
        assert time.monotonic() < give_up, "the pod of a killed task is still there"
        time.sleep(0.2)
