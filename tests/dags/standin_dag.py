"""The daily Dag with the stand-in program in the place of its jobs, for an Airflow of a test.

A test copies this file into a Dag folder as irt_analytics_daily.py.
"""

import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk.definitions.mappedoperator import MappedOperator

from irt_airflow.pipeline_pod import JOB_COMMAND, PipelinePodOperator

ROOT = Path(os.environ["STANDIN_ROOT"])

dag = runpy.run_path(str(ROOT / "dags" / "irt_analytics_daily.py"))["dag"]
command = (sys.executable, str(ROOT / "tests" / "dags" / "standin.py"))
for task in dag.tasks:
    if isinstance(task, MappedOperator):
        task.partial_kwargs |= {"retry_delay": timedelta(seconds=1), "command": command}
        continue
    task.retry_delay = timedelta(seconds=1)
    if isinstance(task, PipelinePodOperator):
        assert tuple(task.arguments[: len(JOB_COMMAND)]) == JOB_COMMAND
        task.arguments[: len(JOB_COMMAND)] = command
