"""What may run after a calibration that refused to publish: the last published one stays in force.

A job that refuses (exit code 65) fails its task, and with it the run; but what is published stands, and the day's KPIs
can be computed from it. After any other failure nothing says that the job left a sound state, so nothing goes on.
"""

import logging
from collections.abc import Callable

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

#: XCom of a task whose job refused to publish; Airflow deletes it when the task starts again.
REFUSED = "refused"


logger = logging.getLogger(__name__)


def only_after(task_id: str) -> Callable[[Context], None]:
    """Return a check before a task's execution: it goes on where the task `task_id` succeeded or was refused.

    The task itself has a trigger rule that lets it start after a failure.
    """

    def check(context: Context) -> None:
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[task_id])
        state = states.get(ti.run_id, {}).get(task_id)
        if state == "success":
            return
        if state == "failed" and ti.xcom_pull(task_ids=task_id, key=REFUSED):
            logger.warning("%s refused to publish: this day rests on what was published before", task_id)
            return
        raise AirflowFailException(
            f"{task_id} ended as {state or 'not run'} and did not refuse to publish (exit code 65): mend it and clear "
            "it, and this task runs after it"
        )

    return check
