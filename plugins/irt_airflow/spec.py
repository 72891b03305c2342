"""What to run: the one description that both runtimes read."""

from dataclasses import dataclass, field

from irt_airflow.profiles import ComputeProfile


@dataclass(frozen=True)
class JobSpec:
    """One run of one job.

    Attributes:
        task_id: the Airflow task.
        job: the job's name, in messages and pod names.
        command: program and arguments; holds no secret.
        environment: variables that anybody may see.
        credentials: variables that nobody may see; never part of a repr, a pod spec or a log.
        profile: what the job may use; the process runtime cannot enforce it.
        image: what a pod runs.
        namespace: where a pod runs.
        time_limit: seconds after which a pod ends even if its task process is gone.
    """

    task_id: str
    job: str
    command: tuple[str, ...]
    environment: dict[str, str]
    credentials: dict[str, str] = field(repr=False)
    profile: ComputeProfile
    image: str | None
    namespace: str
    time_limit: int
