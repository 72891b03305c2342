"""Run the daily Dag once by Airflow: `python run_day.py DAY CONNECTIONS RESULT`; its log goes to standard output."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

from irt_airflow.pipeline_pod import PipelinePodOperator


def main(day: str, connections: str, result: str) -> None:
    dag = DagBag().dags["irt_analytics_daily"]
    for task in dag.tasks:
        if isinstance(task, PipelinePodOperator):
            # the machine is small; and numba tells what it compiles
            task.profile = replace(task.profile, cpu_request="100m", memory_request="256Mi")
            task.environment["NUMBA_DEBUG_CACHE"] = "1"
    run = dag.test(run_conf={"as_of": day}, conn_file_path=connections)
    found = {instance.task_id: instance for instance in run.get_task_instances()}
    report = found["generate_weekly_report"]
    link = report.xcom_pull(task_ids=report.task_id, key="_link_OpenReportLink", dag_id=run.dag_id)
    states = {name: instance.state for name, instance in found.items()}
    Path(result).write_text(json.dumps({"run_id": run.run_id, "states": states, "link": link}))


if __name__ == "__main__":
    main(*sys.argv[1:])
