"""The pod that a job becomes, and what its end means. Pods that run are in tests/k8s."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from irt_airflow.pipeline_pod import DEFAULT_NAMESPACE, PipelinePodOperator, _require_pinned_image, job_runtime
from irt_airflow.pod import JOB_UID, PodRuntime, infrastructure_cause, start_obstacle
from irt_airflow.profiles import PROFILES, compute_profile
from irt_airflow.spec import JobSpec
from irt_analytics.deploy.releases import JOBS_NAMESPACE

SECRET = "postgresql://analyst:correct-horse@db/answers"
SPEC = JobSpec(
    task_id="mirt_calibrate",
    job="mirt_calibrate",
    command=("python", "-m", "irt_analytics", "mirt_calibrate", "--as-of=2026-01-31"),
    environment={"IRT_DAG_RUN_ID": "manual", "IRT_TRY_NUMBER": "1"},
    credentials={"DATABASE_URL": SECRET},
    profile=compute_profile("large"),
    image="registry.internal/irt-jobs:3.0.0",
    namespace="irt-jobs",
    time_limit=120,
)


def built(spec: JobSpec = SPEC) -> k8s.V1Pod:
    return PodRuntime(spec=spec).build_pod_request_obj(dry_run=True)


@pytest.mark.parametrize("profile", PROFILES)
def test_pod_satisfies_the_restricted_standard(profile: str) -> None:
    """Each field is one that the Pod Security standard `restricted` demands; without it a cluster refuses the pod."""
    spec = built(replace(SPEC, profile=compute_profile(profile))).spec
    assert spec.security_context.run_as_non_root is True
    assert spec.security_context.run_as_user == JOB_UID > 0
    assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert not spec.host_network
    assert not spec.init_containers
    for container in spec.containers:
        assert container.security_context.allow_privilege_escalation is False
        assert container.security_context.capabilities.drop == ["ALL"]
        assert container.security_context.capabilities.add is None
        assert not container.security_context.privileged
    assert [set(ApiClient().sanitize_for_serialization(volume)) for volume in spec.volumes] == [{"name", "emptyDir"}]


def test_pod_can_write_to_its_scratch_folder_only_and_has_no_token() -> None:
    spec = built().spec
    (container,) = spec.containers
    assert container.security_context.read_only_root_filesystem is True
    assert [(mount.mount_path, mount.read_only) for mount in container.volume_mounts] == [("/tmp", None)]  # noqa: S108
    assert spec.volumes[0].empty_dir.size_limit == SPEC.profile.scratch_limit
    assert spec.automount_service_account_token is False
    assert spec.enable_service_links is False


def test_pod_asks_for_its_profile_and_ends_in_time() -> None:
    spec = built().spec
    (container,) = spec.containers
    assert container.resources.requests == {"cpu": "1", "memory": "2Gi"}
    assert container.resources.limits == {"cpu": "4", "memory": "8Gi"}
    variables = {variable.name: variable.value for variable in container.env}
    assert variables["NUMBA_NUM_THREADS"] == variables["OMP_NUM_THREADS"] == "4"
    assert spec.active_deadline_seconds == SPEC.time_limit
    assert spec.termination_grace_period_seconds == 30
    assert spec.restart_policy == "Never"


def test_no_credential_is_part_of_the_pod() -> None:
    pod = built()
    (source,) = pod.spec.containers[0].env_from
    assert source.secret_ref.name == pod.metadata.name
    assert not source.secret_ref.optional, "a job would start without its credentials"
    assert "correct-horse" not in str(pod)
    assert "correct-horse" not in repr(vars(PodRuntime(spec=SPEC)))


def test_pod_is_pinned_whatever_airflow_is_configured_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    runtime = PodRuntime(spec=SPEC)
    assert runtime.deferrable is False
    assert runtime.durable is True
    assert runtime.do_xcom_push is False
    assert runtime.log_pod_spec_on_failure is False
    assert runtime.schedule_timeout_seconds == 600


@pytest.mark.parametrize(
    "image",
    ["registry.internal:5000/irt-jobs:3.0.0", f"registry.internal/irt-jobs@sha256:{'0' * 64}", "irt-jobs:2026.01.31-1"],
)
def test_image_by_version_or_digest_is_taken(image: str) -> None:
    _require_pinned_image(image)


@pytest.mark.parametrize(
    "image", [None, "", "irt-jobs", "irt-jobs:latest", "registry.internal:5000/irt-jobs", "irt-jobs@sha256:0abc"]
)
def test_image_that_can_change_between_tries_is_refused(image: str | None) -> None:
    with pytest.raises(AirflowFailException, match="expected"):
        _require_pinned_image(image)


def test_outside_a_cluster_the_runtime_must_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IRT_RUNTIME", raising=False)
    with pytest.raises(AirflowFailException, match=r"IRT_RUNTIME is not set.*IRT_RUNTIME=process"):
        job_runtime()
    monkeypatch.setenv("IRT_RUNTIME", "docker")
    with pytest.raises(AirflowFailException, match="IRT_RUNTIME='docker': expected kubernetes or process"):
        job_runtime()
    for runtime in ("kubernetes", "process"):
        monkeypatch.setenv("IRT_RUNTIME", runtime)
        assert job_runtime() == runtime


def test_unknown_profile_is_named_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="compute profile 'huge' does not exist; there are small, medium, large"):
        PipelinePodOperator(job="mirt_calibrate", as_of="2026-01-31", tenant="default", profile="huge")


@pytest.mark.parametrize(
    ("runtime", "place"), [("kubernetes", "irt_airflow.pod"), ("process", "irt_airflow.pipeline_pod")]
)
def test_a_task_killed_before_its_job_began_begins_none(
    runtime: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job would run on beside its retry: nobody tells a runtime that was made after the signal."""
    operator = PipelinePodOperator(job="probe", as_of="2026-01-31", tenant="default", image="irt-jobs:3.0.0")

    class MadeTooLate:
        def __init__(self, *_: Any, **__: Any) -> None:
            operator.on_kill()

        def run(self, *_: Any) -> None:
            pytest.fail("the job began")

    monkeypatch.setenv("IRT_RUNTIME", runtime)
    monkeypatch.setattr(f"{place}.{'PodRuntime' if runtime == 'kubernetes' else 'ProcessRuntime'}", MadeTooLate)
    with pytest.raises(AirflowException, match="probe was killed together with its task"):
        operator.execute({})


def test_jobs_namespace_is_the_one_that_the_values_install() -> None:
    assert DEFAULT_NAMESPACE == JOBS_NAMESPACE


class Cluster:
    """An API server that has these pods of the task and, as of those of a lost node, never gets rid of one."""

    def __init__(self, *pods: k8s.V1Pod) -> None:
        self.pods = pods

    def list_namespaced_pod(self, *_: Any, **__: Any) -> k8s.V1PodList:
        return k8s.V1PodList(items=list(self.pods))

    def delete_namespaced_pod(self, *_: Any, **__: Any) -> None:
        pass


def outlived(monkeypatch: pytest.MonkeyPatch, *pods: k8s.V1Pod) -> k8s.V1Pod | None:
    monkeypatch.setattr("irt_airflow.pod.GRACE_SECONDS", 0)
    runtime = PodRuntime(spec=SPEC)
    runtime.client = Cluster(*pods)
    instance = SimpleNamespace(dag_id="d", task_id="t", map_index=-1, try_number=2)
    context: Any = {"ti": instance, "run_id": "manual", "dag": SimpleNamespace(parent_dag=None)}
    return runtime._outlive_other_pods(SPEC.namespace, context)


TERMINATING = k8s.V1Pod(
    metadata=k8s.V1ObjectMeta(name="irt-job-lost", namespace="n", deletion_timestamp=datetime.now(UTC)),
    status=k8s.V1PodStatus(phase="Running"),
)


def test_pod_of_a_lost_node_does_not_keep_the_next_try_from_starting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays `Terminating` until somebody removes the node; three tries would fail of it in a few minutes."""
    assert outlived(monkeypatch, TERMINATING) is None
    assert "Leaving pod irt-job-lost of an earlier try behind" in capsys.readouterr().out


def test_pod_of_a_lost_node_does_not_hide_the_one_to_adopt(monkeypatch: pytest.MonkeyPatch) -> None:
    live = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="irt-job-live"), status=k8s.V1PodStatus(phase="Running"))
    assert outlived(monkeypatch, TERMINATING, live) is live


def test_pod_that_cannot_be_deleted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="irt-job-done", namespace="n"), status=k8s.V1PodStatus(phase="Succeeded")
    )
    with pytest.raises(AirflowException, match="pod irt-job-done of an earlier try is still there"):
        outlived(monkeypatch, finished)


def pod_status(**status: Any) -> k8s.V1Pod:
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="irt-job-x"), status=k8s.V1PodStatus(**status))


def container_status(**state: Any) -> list[k8s.V1ContainerStatus]:
    return [
        k8s.V1ContainerStatus(
            name="base",
            image="i",
            image_id="i",
            ready=False,
            restart_count=0,
            state=k8s.V1ContainerState(**state),
        )
    ]


def ended(exit_code: int, reason: str = "Error", message: str = "") -> list[k8s.V1ContainerStatus]:
    now = datetime.now(UTC)
    return container_status(
        terminated=k8s.V1ContainerStateTerminated(
            exit_code=exit_code, reason=reason, message=message, started_at=now, finished_at=now
        )
    )


@pytest.mark.parametrize(
    ("status", "message", "retried"),
    [
        ({"phase": "Failed", "container_statuses": ended(64, message="bad\n--as-of")}, "exit code 64.*--as-of", False),
        ({"phase": "Failed", "container_statuses": ended(65)}, "exit code 65, refused", False),
        ({"phase": "Failed", "container_statuses": ended(1)}, "exit code 1, a defect", False),
        ({"phase": "Failed", "container_statuses": ended(75)}, "exit code 75, temporary", True),
        ({"phase": "Failed", "container_statuses": ended(143)}, "exit code 143, terminated", True),
        ({"phase": "Failed", "container_statuses": ended(137)}, "exit code 137, killed", True),
        ({"phase": "Failed", "container_statuses": ended(137, "OOMKilled")}, "OOMKilled.*limit of 8Gi", True),
        (
            {"phase": "Failed", "reason": "DeadlineExceeded", "message": "active on the node longer than specified"},
            "DeadlineExceeded, active on the node",
            True,
        ),
        (
            # an evicted container exits like a defect: what ended it counts
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "container_statuses": ended(1)},
            "Evicted, low on memory",
            True,
        ),
        (
            {
                "phase": "Failed",
                "container_statuses": ended(137),
                "conditions": [
                    k8s.V1PodCondition(
                        type="DisruptionTarget", status="True", reason="PreemptionByScheduler", message="preempted"
                    )
                ],
            },
            "PreemptionByScheduler, preempted",
            True,
        ),
        ({"phase": "Failed"}, "ended in phase Failed without an exit code", True),
    ],
)
def test_end_of_a_pod_names_its_cause_and_decides_on_the_retry(
    status: dict[str, Any], message: str, retried: bool
) -> None:
    with pytest.raises(AirflowException, match=f"(?s){message}") as raised:
        PodRuntime(spec=SPEC)._raise_for_pod(pod_status(**status), None)
    assert isinstance(raised.value, AirflowFailException) is not retried


def test_end_of_a_container_that_a_cluster_puts_beside_the_job_is_not_the_job_s() -> None:
    """A mesh's proxy that ends with 1 would make a defect, never tried again, of a job that was to be retried."""
    (proxy,) = ended(1)
    proxy.name = "istio-proxy"
    statuses = [proxy, *ended(75)]
    with pytest.raises(AirflowException, match="exit code 75, temporary"):
        PodRuntime(spec=SPEC)._raise_for_pod(pod_status(phase="Failed", container_statuses=statuses), None)


def test_pod_that_succeeded_raises_nothing() -> None:
    PodRuntime(spec=SPEC)._raise_for_pod(pod_status(phase="Succeeded", container_statuses=ended(0, "Completed")), None)


def test_running_pod_has_no_cause_of_an_end() -> None:
    assert infrastructure_cause(pod_status(phase="Running", reason="whatever")) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            {
                "container_statuses": container_status(
                    waiting=k8s.V1ContainerStateWaiting(reason="ErrImagePull", message="not found")
                )
            },
            "ErrImagePull, not found",
        ),
        (
            {
                "conditions": [
                    k8s.V1PodCondition(
                        type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes: memory"
                    )
                ]
            },
            "Unschedulable, 0/3 nodes: memory",
        ),
        (
            {"container_statuses": container_status(waiting=k8s.V1ContainerStateWaiting(reason="ContainerCreating"))},
            None,
        ),
    ],
)
def test_pod_that_does_not_start_says_what_it_waits_for(status: dict[str, Any], expected: str | None) -> None:
    assert start_obstacle(pod_status(phase="Pending", **status)) == expected
