"""The Kubernetes runtime: a job as one pod.

Imported by a task that needs it, never while the Dag is parsed: the two Kubernetes clients behind the stock operator
take longer to import than a Dag file may take to parse.
"""

import sys
import time
from typing import Any

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    PodLaunchFailedException,
    generic_api_retry,
)
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchTimeoutException, PodPhase
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from kubernetes.client import ApiException
from kubernetes.client import models as k8s

from irt_airflow.exit_codes import TAIL_LINES, raise_for_exit_code
from irt_airflow.spec import JobSpec

#: Seconds between SIGTERM and SIGKILL of a pod: a job rolls back and exits 143 within it. Shorter than any retry delay.
GRACE_SECONDS = 30
#: Numeric, so that the kubelet can tell without the image that it is not root. The image has a user of this number.
JOB_UID = 10001
#: A cluster that scales up needs minutes for a node; pulling the image onto it needs a few more.
SCHEDULE_TIMEOUT_SECONDS = 600
STARTUP_TIMEOUT_SECONDS = 600

SCRATCH = k8s.V1VolumeMount(name="scratch", mount_path="/tmp")  # noqa: S108 - the one writable folder of the pod


class CredentialsSecret(KubernetesPodOperatorCallback):
    """Gives each new pod its credentials, once its uid is known to own them."""

    @staticmethod
    def on_pod_creation(*, pod: k8s.V1Pod | None, operator: KubernetesPodOperator, **_: Any) -> None:
        """Create the pod's Secret; the kubelet waits for it."""
        assert isinstance(operator, PodRuntime)
        if pod is None:
            raise AirflowException("the pod was gone before its credentials could be created")
        operator.create_credentials(pod)


class PodRuntime(KubernetesPodOperator):
    """Runs a `JobSpec` as a pod and ends as its exit code or its infrastructure says.

    It is the runtime of a task, not a task: `PipelinePodOperator` makes it at run time and calls `run` and `kill`.
    """

    def __init__(self, *, spec: JobSpec, **airflow: Any) -> None:
        profile = spec.profile
        super().__init__(
            **airflow,
            task_id=spec.task_id,
            name=f"irt-{spec.job}".replace("_", "-"),
            namespace=spec.namespace,
            image=spec.image,
            # A version or digest never changes what it means, so a cached image is the image.
            image_pull_policy="IfNotPresent",
            # As arguments, so that the image's entrypoint runs first and puts the compiled kernels into place.
            arguments=[verbatim(argument) for argument in spec.command],
            env_vars={
                **{name: verbatim(value) for name, value in spec.environment.items()},
                "NUMBA_NUM_THREADS": str(profile.threads),
                "OMP_NUM_THREADS": str(profile.threads),
            },
            labels={"app.kubernetes.io/name": "irt-analytics", "app.kubernetes.io/component": spec.job},
            container_resources=k8s.V1ResourceRequirements(requests=profile.requests, limits=profile.limits),
            volumes=[
                k8s.V1Volume(name=SCRATCH.name, empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=profile.scratch_limit))
            ],
            volume_mounts=[SCRATCH],
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=JOB_UID,
                run_as_group=JOB_UID,
                fs_group=JOB_UID,
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            container_security_context=k8s.V1SecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=k8s.V1Capabilities(drop=["ALL"]),
            ),
            automount_service_account_token=False,
            active_deadline_seconds=spec.time_limit,
            termination_grace_period=GRACE_SECONDS,
            schedule_timeout_seconds=SCHEDULE_TIMEOUT_SECONDS,
            startup_timeout_seconds=STARTUP_TIMEOUT_SECONDS,
            startup_check_interval_seconds=1,
            # The kubelet keeps the end of a failed container's log beside its exit code.
            termination_message_policy="FallbackToLogsOnError",
            container_name_log_prefix_enabled=False,
            callbacks=CredentialsSecret,
            # The rest must not depend on how an Airflow is configured.
            deferrable=False,
            durable=True,
            do_xcom_push=False,
            log_pod_spec_on_failure=False,
            on_finish_action="delete_pod",
            on_kill_action="delete_pod",
        )
        self._spec = spec
        self._adopted = False

    def run(self, context: Context) -> None:
        """Run the pod to its end.

        Raises:
            AirflowException: by exit code or infrastructure; AirflowFailException where a retry is pointless.
        """
        self.execute_sync(context)

    def kill(self) -> None:
        """Delete the pod: SIGTERM now, SIGKILL after its grace period."""
        self.on_kill()

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """Add what the stock operator has no argument for."""
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        pod.spec.enable_service_links = False  # else every Service of the namespace becomes variables of the job
        if self._spec.credentials:
            source = k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=pod.metadata.name))
            pod.spec.containers[0].env_from = [*(pod.spec.containers[0].env_from or []), source]
        return pod

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Adopt the live pod of this task, or make one once no pod of an earlier try is left.

        A crashed worker leaves a live pod, which goes on under the next try. A cleared task leaves one that is being
        deleted and still rolls back; a finished one was never looked at. Neither can answer for this try.
        """
        live = self._outlive_other_pods(pod_request_obj.metadata.namespace, context)
        if live is not None:
            labels = live.metadata.labels
            self.log.info("Adopting pod %s of try %s: it is still at work", live.metadata.name, labels["try_number"])
            self.pod, self._adopted = live, True
        else:
            self.pod = self.pod_manager.create_pod(pod_request_obj)
        if self._killed:  # the signal came before there was a pod to delete
            self.on_kill()
            raise AirflowException(f"killed while pod {self.pod.metadata.name} was being created")
        return self.pod

    @generic_api_retry  # type: ignore[untyped-decorator]
    def find_pod(self, namespace: str, context: Context, *, exclude_checked: bool = True) -> k8s.V1Pod | None:  # noqa: ARG002
        """Return this try's pod as the API server has it now, None where it is gone."""
        if self.pod is None:
            return None
        try:
            return self.client.read_namespaced_pod(self.pod.metadata.name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def create_credentials(self, pod: k8s.V1Pod) -> None:
        """Create the immutable Secret that `pod` waits for; it goes when the pod goes.

        Raises:
            AirflowException: the API server refused, or a Secret of that name belongs to something else.
        """
        if not self._spec.credentials:
            return
        name, namespace = pod.metadata.name, pod.metadata.namespace
        owner = k8s.V1OwnerReference(api_version="v1", kind="Pod", name=name, uid=pod.metadata.uid)
        secret = k8s.V1Secret(
            metadata=k8s.V1ObjectMeta(name=name, namespace=namespace, labels=self.labels, owner_references=[owner]),
            immutable=True,
            string_data=self._spec.credentials,
        )
        try:
            # Unparsed, for the client logs parsed answers at level DEBUG, and this one repeats the values.
            self.client.create_namespaced_secret(namespace, secret, _preload_content=False)
        except ApiException as error:
            # Airflow's Role may create Secrets and not read them. An adopted pod's is its own: the try that made the
            # pod made the Secret, or was refused here and deleted the pod.
            if error.status == 409 and self._adopted:
                return
            raise AirflowException(
                f"Secret {namespace}/{name} for the pod's credentials was not created: {error.status} {error.reason}"
            ) from None

    def _outlive_other_pods(self, namespace: str, context: Context) -> k8s.V1Pod | None:
        """Return the task's live pod, having waited until its terminating and finished ones are gone.

        A pod that is still terminating long after its SIGKILL is on a lost node, and may stay for hours. It is left
        behind: should its job be at work after all, the job's advisory lock keeps the next one out.
        """
        selector = self._build_find_pod_label_selector(context)
        give_up = time.monotonic() + 2 * GRACE_SECONDS
        announced: set[str] = set()
        while True:
            pods = self.client.list_namespaced_pod(namespace, label_selector=selector).items
            live = [pod for pod in pods if not pod.metadata.deletion_timestamp and not _is_finished(pod)]
            others = [pod for pod in pods if pod not in live]
            if not others or self._killed:
                break
            for pod in others:
                name = pod.metadata.name
                if name not in announced:
                    announced.add(name)
                    if not pod.metadata.deletion_timestamp:
                        self.process_pod_deletion(pod)
                    self.log.info("Waiting until pod %s of an earlier try is gone", name)
            if time.monotonic() > give_up:
                names = ", ".join(pod.metadata.name for pod in others)
                if not all(pod.metadata.deletion_timestamp for pod in others):
                    raise AirflowException(
                        f"pod {names} of an earlier try is still there after {2 * GRACE_SECONDS} s: "
                        "the API server does not delete it"
                    )
                self.log.warning(
                    "Leaving pod %s of an earlier try behind: still terminating after %s s, its node must be lost",
                    names,
                    2 * GRACE_SECONDS,
                )
                break
            time.sleep(1)
        if len(live) > 1:
            names = ", ".join(pod.metadata.name for pod in live)
            raise AirflowException(f"more than one live pod of this task: {names}; delete all but one")
        return live[0] if live else None

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod | None,
        xcom_result: dict[str, Any] | None = None,  # noqa: ARG002
        context: Any = None,
    ) -> None:
        """Delete the pod and say how it ended; runs in the `finally` of `execute_sync`."""
        error = sys.exception()
        if self._killed or isinstance(error, AirflowTaskTimeout) or self.pod is None:
            return  # on_kill deletes the pod, or there is none; the error on its way says why
        final = (
            remote_pod
            if remote_pod is not None and _is_finished(remote_pod)
            else self.find_pod(pod.metadata.namespace, context)
        )
        if final is None:
            raise AirflowException(f"pod {pod.metadata.name} is gone: it was deleted, or its node was lost")
        if error is not None and _is_running(final):
            return  # it was the API server that failed; the next try adopts the pod
        self.process_pod_deletion(final, reraise=False)
        self._raise_for_pod(final, error)

    def _raise_for_pod(self, pod: k8s.V1Pod, error: BaseException | None) -> None:
        """Raise what the end of the pod means to Airflow; return where the job is done or `error` says it better."""
        name = pod.metadata.name
        cause = infrastructure_cause(pod)
        if cause is not None:
            raise AirflowException(f"pod {name}: {cause}")
        ended = _container_end(pod)
        if ended is not None:
            # a job that committed is done, though something beside it in its container was killed
            if ended.reason == "OOMKilled" and ended.exit_code != 0:
                limit = self._spec.profile.memory_limit
                raise AirflowException(
                    f"pod {name}: OOMKilled, it needed more than its profile's memory limit of {limit}"
                )
            raise_for_exit_code(self._spec.job, ended.exit_code, (ended.message or "").splitlines()[-TAIL_LINES:])
        elif isinstance(error, PodLaunchFailedException | PodLaunchTimeoutException):
            raise AirflowException(f"pod {name} did not start: {start_obstacle(pod) or error}")
        elif error is None:
            raise AirflowException(f"pod {name} ended in phase {pod.status.phase} without an exit code")


def verbatim(text: str) -> str:
    """Protect a text from Kubernetes, which expands $(NAME) in arguments and variables."""
    return text.replace("$", "$$")


def infrastructure_cause(pod: k8s.V1Pod) -> str | None:
    """Name what ended a pod from outside (DeadlineExceeded, Evicted, node lost), None where nothing did."""
    if pod.status.phase != PodPhase.FAILED:
        return None
    disruption = next(
        (c for c in pod.status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"), None
    )
    if pod.status.reason:
        return f"{pod.status.reason}, {pod.status.message or 'no further message'}"
    if disruption is not None:
        return f"{disruption.reason}, {disruption.message or 'no further message'}"
    return None


def start_obstacle(pod: k8s.V1Pod) -> str | None:
    """Name what kept a pod's container from starting (ErrImagePull, Unschedulable, ...), None where nothing did."""
    for status in pod.status.container_statuses or []:
        waiting = status.state.waiting
        if waiting is not None and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting.reason}, {waiting.message or 'no further message'}"
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}, {condition.message}"
    return None


def _container_end(pod: k8s.V1Pod) -> k8s.V1ContainerStateTerminated | None:
    """How the job's container ended, None while it has not; a cluster may have put others beside it."""
    statuses = pod.status.container_statuses or []
    name = KubernetesPodOperator.BASE_CONTAINER_NAME
    return next((status.state.terminated for status in statuses if status.name == name), None)


def _is_finished(pod: k8s.V1Pod) -> bool:
    return pod.status.phase in PodPhase.terminal_states


def _is_running(pod: k8s.V1Pod) -> bool:
    return pod.status.phase == PodPhase.RUNNING and _container_end(pod) is None and not pod.metadata.deletion_timestamp
