"""The errors a job ends with, each with the exit code that tells Airflow whether to retry."""

from typing import ClassVar


class PipelineError(Exception):
    """An end of a job that its user can act on; `exit_code` decides what Airflow does next."""

    exit_code: ClassVar[int]


class ConfigurationError(PipelineError):
    """Bad configuration or input: the message names the value, where it stands and what was expected."""

    exit_code = 64


class RefusedError(PipelineError):
    """The data cannot support a result: the message names what, the threshold, and what to do.

    `keep_writes`: what the job has written is the record of the refusal and is committed.
    """

    exit_code = 65

    def __init__(self, message: str, *, keep_writes: bool = False) -> None:
        super().__init__(message)
        self.keep_writes = keep_writes


class TemporaryError(PipelineError):
    """A service or the database is away or busy; the same call may succeed later."""

    exit_code = 75


class Skip(Exception):  # noqa: N818 - the end of a job, not an error
    """The data is honestly too small for this job; the run records the reason and goes on.

    `keep_writes`: what the job has written (an earlier try's rows taken away, say) is committed.
    """

    def __init__(self, message: str, *, keep_writes: bool = False) -> None:
        super().__init__(message)
        self.keep_writes = keep_writes


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. As a KeyboardInterrupt it also cancels the query that is running."""

    exit_code: ClassVar[int] = 143
