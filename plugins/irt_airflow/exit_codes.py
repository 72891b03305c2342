"""What a job's exit code tells Airflow: done, fail at once, or try again."""

from collections.abc import Iterable

from airflow.sdk.exceptions import AirflowException, AirflowFailException

#: Ends that the same call may survive later. 128 + 9 and 128 + 15 come from kernel or node.
RETRIED = {
    75: "temporary: the database or a service is away, or another run holds the job's lock",
    137: "killed (SIGKILL)",
    143: "terminated (SIGTERM)",
}
FINAL = {
    64: "bad configuration or input",
    65: "refused to publish: the data cannot support it",
}
#: The end that leaves what was published before in force.
REFUSED = 65
#: Lines of a job's log that an error repeats.
TAIL_LINES = 5


class RefusedToPublishError(AirflowFailException):
    """A job refused to publish; what was published before stands."""


def raise_for_exit_code(job: str, exit_code: int, last_lines: Iterable[str] = ()) -> None:
    """Return where the job is done; otherwise raise what makes Airflow do the right thing.

    Args:
        job: the job's name.
        exit_code: as a shell reports it (128 + n for signal n).
        last_lines: the end of the job's log, repeated in the error so that an alert carries the reason.

    Raises:
        AirflowException: the end may be other next time; Airflow retries.
        AirflowFailException: bad input, a refusal (RefusedToPublishError) or a defect; a retry would end the same way.
    """
    if exit_code == 0:
        return
    tail = "".join(f"\n  {line}" for line in last_lines)
    if exit_code in RETRIED:
        raise AirflowException(f"{job} ended with exit code {exit_code}, {RETRIED[exit_code]}.{tail}")
    meaning = FINAL.get(exit_code, "a defect")
    kind = RefusedToPublishError if exit_code == REFUSED else AirflowFailException
    raise kind(f"{job} ended with exit code {exit_code}, {meaning}; not retried.{tail}")
