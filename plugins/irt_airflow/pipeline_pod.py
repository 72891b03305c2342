"""The one operator that a job uses."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from airflow.sdk import BaseOperator, BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from irt_airflow.credentials import credentials
from irt_airflow.exit_codes import RefusedToPublishError
from irt_airflow.process import ProcessRuntime
from irt_airflow.profiles import compute_profile
from irt_airflow.refusal import REFUSED
from irt_airflow.spec import JobSpec

RUNTIMES = ("kubernetes", "process")
DEFAULT_NAMESPACE = "seedtest-jobs"  # as helm-values/ has it
JOB_COMMAND = ("python", "-m", "irt_analytics")
#: Settings of jobs that are not secret and are the same for every job: passed on from the worker where it has them.
JOB_SETTINGS = ("ATTEMPT_SOURCE", "REPORT_ENGINE")
ONLY_SHARD = "1/1"
#: A pod outlives its task's timeout by this much, so that Airflow's timeout, which names itself, comes first.
DEADLINE_MARGIN = timedelta(minutes=2)
LONGEST_JOB = timedelta(hours=6)

_IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$")


class _Runtime(Protocol):
    def kill(self) -> None: ...


class PipelinePodOperator(BaseOperator):
    """Run one job of the pipeline, as a pod or as a child process.

    The command is `python -m irt_analytics JOB --as-of DAY --tenant TENANT --FLAG=VALUE ...`; credentials reach it as
    environment variables made from Airflow connections at run time. How it ends is up to its exit code: 0 success;
    75, 137, 143 and failures of the infrastructure are retried; everything else fails at once. A refusal (65) leaves an
    XCom that says so, for what may go on after it.

    The environment variable IRT_RUNTIME says where jobs run: `kubernetes` (the default inside a cluster; the image is
    IRT_JOBS_IMAGE, the namespace IRT_JOBS_NAMESPACE) or `process`.

    Args:
        job: the job's name on the command line; also the task's id unless one is given.
        as_of: the day, templated.
        tenant: the tenant, templated.
        flags: further flags by name, templated; an empty value means "not set".
        shard: which shard of the learners it works on, such as 2/4; all of them unless given. Nothing is left to do for
            the only one, 1/1: the job after it does all.
        profile: the compute profile of its pod.
        connections: the Airflow connections whose credentials it gets, templated; an empty id is none.
        links: buttons of the task in the UI.
        image: the pod's image, by version or digest.
        namespace: the pod's namespace.
        command: what runs in place of `python -m irt_analytics`.
    """

    template_fields: Sequence[str] = (
        "as_of",
        "tenant",
        "connections",
        "arguments",
        "environment",
        "image",
        "namespace",
    )

    def __init__(
        self,
        *,
        job: str,
        as_of: str,
        tenant: str,
        flags: Mapping[str, str] | None = None,
        shard: str = "",
        profile: str = "medium",
        connections: Collection[str] = (),
        links: Collection[BaseOperatorLink] = (),
        image: str | None = None,
        namespace: str | None = None,
        command: Sequence[str] = JOB_COMMAND,
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=kwargs.pop("task_id", job), **kwargs)
        self.job = job
        self.profile = compute_profile(profile)
        self.as_of = as_of
        self.tenant = tenant
        self.shard = shard
        self.connections = tuple(connections)
        self.operator_extra_links = tuple(links)
        self.image = image or os.environ.get("IRT_JOBS_IMAGE")
        self.namespace = namespace or os.environ.get("IRT_JOBS_NAMESPACE") or DEFAULT_NAMESPACE
        self.arguments = [
            *command,
            job,
            f"--as-of={as_of}",
            f"--tenant={tenant}",
            *(f"--{name.replace('_', '-')}={value}" for name, value in (flags or {}).items()),
            *([f"--shard={shard}"] if shard else []),
        ]
        self.environment = {
            **{name: os.environ[name] for name in JOB_SETTINGS if os.environ.get(name)},
            "IRT_DAG_RUN_ID": "{{ run_id }}",
            "IRT_TRY_NUMBER": "{{ ti.try_number }}",
        }
        self.done = False
        self._runtime: _Runtime | None = None
        self._killed = False

    def execute(self, context: Context) -> None:
        """Run the job to its end.

        Raises:
            AirflowException: it was killed, or it ended in a way that a retry may mend.
            AirflowFailException: a retry would end the same way.
        """
        if self.shard == ONLY_SHARD:
            self.log.info("one shard only: nothing to do before %s itself", self.job)
            return
        try:
            runtime, spec = job_runtime(), self._spec()
            if runtime == "kubernetes":
                _require_pinned_image(spec.image)
                from irt_airflow.pod import PodRuntime

                pod = PodRuntime(spec=spec)
                self._let_kill(pod)
                pod.run(context)
            else:
                child = ProcessRuntime(spec, self.log)
                self._let_kill(child)
                child.run()
        except AirflowTaskTimeout:
            self.log.error("%s ran longer than its execution_timeout of %s", self.job, self.execution_timeout)
            raise
        except Exception as error:
            if self._killed:
                raise self._killed_error() from error
            if isinstance(error, RefusedToPublishError):
                context["ti"].xcom_push(key=REFUSED, value=True)
            raise
        # A job that ends by itself while it is being killed must not count as done: its task was asked to stop.
        if self._killed:
            raise self._killed_error()
        self.done = True

    def on_kill(self) -> None:
        """Stop the job; runs inside a signal handler."""
        self._killed = True
        if self._runtime is not None:
            self._runtime.kill()

    def _let_kill(self, runtime: _Runtime) -> None:
        """Let `on_kill` reach the runtime from here on; a signal that came before ends the task now."""
        self._runtime = runtime
        if self._killed:
            raise self._killed_error()

    def _killed_error(self) -> AirflowException:
        return AirflowException(f"{self.job} was killed together with its task")

    def _spec(self) -> JobSpec:
        limit = self.execution_timeout or LONGEST_JOB
        deadline = datetime.now(UTC) + limit
        return JobSpec(
            task_id=self.task_id,
            job=self.job,
            command=tuple(self.arguments),
            environment={**self.environment, "IRT_DEADLINE": deadline.isoformat(timespec="seconds")},
            credentials=credentials(self.connections),
            profile=self.profile,
            image=self.image,
            namespace=self.namespace,
            time_limit=int((limit + DEADLINE_MARGIN).total_seconds()),
        )


def job_runtime() -> str:
    """Return where jobs run here, `kubernetes` or `process`.

    Raises:
        AirflowFailException: it is not known, or not one of the two.
    """
    runtime = os.environ.get("IRT_RUNTIME")
    if runtime in RUNTIMES:
        return runtime
    if runtime:
        raise AirflowFailException(f"IRT_RUNTIME={runtime!r}: expected {' or '.join(RUNTIMES)}")
    if _IN_CLUSTER_TOKEN.exists():
        return "kubernetes"
    raise AirflowFailException(
        "IRT_RUNTIME is not set and this is not a pod of a Kubernetes cluster: set IRT_RUNTIME=process to run jobs as "
        "child processes, or IRT_RUNTIME=kubernetes to run them as pods of the cluster that KUBECONFIG names"
    )


def _require_pinned_image(image: str | None) -> None:
    if not image:
        raise AirflowFailException("IRT_JOBS_IMAGE is not set: expected the image of the jobs, by version or digest")
    _, at, _ = image.partition("@")
    tag = _TAG.search(image.rpartition("/")[2])
    pinned = _DIGEST.search(image) if at else tag and tag["tag"] != "latest"
    if not pinned:
        raise AirflowFailException(
            f"IRT_JOBS_IMAGE={image!r}: expected a version or digest, for what `latest` or no tag means can change "
            "between two tries"
        )
