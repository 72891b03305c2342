"""Tells people that a run failed, through the connection `irt_notifications`, which need not be there.

It is a webhook (http): host and schema say where, the password is the secret rest of its address. It gets
`{"text": ...}`, which Slack, Mattermost and Google Chat show as it is.

A task does it, and no callback of the Dag: Airflow runs those in its Dag processor, which has no connections file, and
calls none for a task whose worker is lost with the process that would.
"""

import html
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from airflow.sdk import BaseHook, BaseOperator, Connection, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from irt_airflow.credentials import http_address

CONNECTION = "irt_notifications"
#: XCom of a failed task: the line that says why.
REASON = "reason"
LONGEST_REASON = 300
TIMEOUT_SECONDS = 10.0

#: How a line of a job's log begins in which the job says what ended it.
_JOB_S_WORDS = re.compile(r"^\s*(?:\d\d:\d\d:\d\d ERROR|error:) (?P<said>.+)$", re.MULTILINE)


def keep_reason(context: Context) -> None:
    """Keep why a task failed, for the message about its run; every task's on_failure_callback."""
    error = context.get("exception")
    if isinstance(error, BaseException):  # none where the Dag processor calls, for a task that was lost
        context["ti"].xcom_push(REASON, reason_of(str(error) or type(error).__name__))


def reason_of(error: str) -> str:
    """Return an error's first line and, where it repeats the end of a job's log, the job's own words."""
    first, _, tail = error.partition("\n")
    said = _JOB_S_WORDS.findall(tail)
    line = f"{first.rstrip('.')}: {said[-1]}" if said else first
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


class NotifyIfFailedOperator(BaseOperator):
    """Post one message about a run in which tasks failed: Dag, day, tenant, the tasks with their reasons, a link.

    Does nothing where none failed, or where there is no connection `irt_notifications`. Meant as a task of its own
    beside the one that fails the run, after everything else.

    Args:
        as_of: the day, templated.
        tenant: the tenant, templated.
    """

    template_fields: Sequence[str] = ("as_of", "tenant")

    def __init__(self, *, as_of: str, tenant: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_of = as_of
        self.tenant = tenant

    def execute(self, context: Context) -> None:
        """Look at the run's tasks and tell of those that failed.

        Raises:
            AirflowFailException: the connection is incomplete, or the webhook refuses the message.
            AirflowException: the webhook does not answer, or is busy.
        """
        failed = self._failed(context)
        if not failed:
            self.log.info("no task failed")
            return
        try:
            connection = BaseHook.get_connection(CONNECTION)
        except AirflowNotFoundException:
            self.log.info("Airflow has no connection %r: nobody is told", CONNECTION)
            return
        post(connection, self._message(context, failed))
        self.log.info("told through connection %r: %s failed", CONNECTION, ", ".join(failed))

    def _failed(self, context: Context) -> dict[str, tuple[str, int]]:
        """Names of the tasks that failed, in the Dag's order, each with its id and map index (-1: it is not mapped)."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        failed = {name for name, state in states.items() if state == "failed"}
        found: dict[str, tuple[str, int]] = {}
        for task in context["dag"].topological_sort():  # type: ignore[no-untyped-call]
            if task.task_id in failed:
                found[task.task_id] = (task.task_id, -1)
            elif task.is_mapped:
                # Airflow names a mapped task's instances features_shards_0, ...
                mapped = sorted(
                    int(name.removeprefix(f"{task.task_id}_")) for name in failed if _is_of(name, task.task_id)
                )
                if mapped:  # they mostly fail for one reason, and a message has a length
                    more = f" and {len(mapped) - 1} more" if len(mapped) > 1 else ""
                    found[f"{task.task_id}[{mapped[0]}]{more}"] = (task.task_id, mapped[0])
        return found

    def _message(self, context: Context, failed: Mapping[str, tuple[str, int]]) -> str:
        ti = context["ti"]
        lines = [f"{ti.dag_id} failed: as_of {self.as_of}, tenant {self.tenant}"]
        for name, (task_id, index) in failed.items():
            reason = ti.xcom_pull(task_ids=task_id, map_indexes=index, key=REASON)
            lines.append(f"• {name}: {reason or 'its task left no reason; see its log'}")
        # Markup of chat programs begins with "<": an item's name must not call everybody.
        return "\n".join([html.escape("\n".join(lines), quote=False), ti.log_url.partition("/tasks/")[0]])


def _is_of(name: str, mapped_id: str) -> bool:
    return re.fullmatch(rf"{re.escape(mapped_id)}_\d+", name) is not None


def webhook(connection: Connection) -> str:
    """Return a webhook's address; it is secret.

    Raises:
        AirflowFailException: the connection is of another type, or lacks a part.
    """
    address = http_address(
        connection,
        schema="https",
        expected="the webhook's address: host and schema, and the secret rest of it as password",
    )
    return f"{address}/{str(connection.password).lstrip('/')}"


def post(connection: Connection, text: str) -> None:
    """Send a message to a webhook.

    Raises:
        AirflowException: no answer, or one that may be another next time.
        AirflowFailException: the webhook refuses it. Neither says the address.
    """
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # below, it logs addresses
    try:
        answer = httpx.post(webhook(connection), json={"text": text}, timeout=TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AirflowException(
            f"connection {CONNECTION!r}: the webhook does not answer ({type(error).__name__})"
        ) from None
    if answer.is_success:
        return
    said = f"connection {CONNECTION!r}: the webhook answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.is_server_error:
        raise AirflowException(said)
    raise AirflowFailException(said)
