"""The table of tasks in docs/dag.md, made from the Dag: `python -m irt_airflow.task_table` writes it anew."""

import re
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions.mappedoperator import MappedOperator

from irt_airflow.credentials import describe_connection
from irt_airflow.pipeline_pod import PipelinePodOperator
from irt_airflow.profiles import ComputeProfile, compute_profile

PAGE = Path(__file__).parents[2] / "docs" / "dag.md"
_TABLES = re.compile(r"(?<=<!-- tasks -->\n).*?(?=<!-- end of tasks -->)", re.DOTALL)


def task_table(dag: DAG) -> str:
    """Return tasks and params of `dag` as two Markdown tables."""
    tasks = ["| task | after | runs when | limit | compute | connections | what it does |", "| --- " * 7 + "|"]
    tasks += [_task_row(task) for task in dag.topological_sort()]  # type: ignore[no-untyped-call]
    params = ["| param | default | values | what it means |", "| --- " * 4 + "|"]
    params += [_param_row(dag, name) for name in dag.params]
    return "\n".join([*tasks, "", *params, ""])


def _compute(profile: ComputeProfile) -> str:
    return ", ".join(f"{name} {profile.requests[name]} to {profile.limits[name]}" for name in ("cpu", "memory"))


def _task_row(task: BaseOperator | MappedOperator) -> str:
    profile, connections = "", [getattr(task, "connection_id", "")]
    if isinstance(task, PipelinePodOperator):
        profile, connections = _compute(task.profile), list(task.connections)
    elif isinstance(task, MappedOperator):
        profile = _compute(compute_profile(task.partial_kwargs["profile"]))
        connections = list(task.partial_kwargs["connections"])
    return _row(
        f"`{task.task_id}`",
        ", ".join(f"`{name}`" for name in sorted(task.upstream_task_ids)),
        str(task.trigger_rule.value).replace("_", " "),
        _minutes(task.execution_timeout),
        profile,
        ", ".join(describe_connection(name) for name in connections if name),
        task.doc_md or "",
    )


def _param_row(dag: DAG, name: str) -> str:
    param = dag.params.get_param(name)
    schema = param.schema
    if "enum" in schema:
        values = ", ".join(f"`{value}`" for value in schema["enum"])
    elif schema.get("format") == "date":
        values = "a day such as `2026-01-31`"
    elif "minimum" in schema:
        values = (
            f"{schema['minimum']} to {schema['maximum']}" if "maximum" in schema else f"{schema['minimum']} or more"
        )
    else:
        values = "text"
    return _row(f"`{name}`", "" if param.value is None else f"`{param.value}`", values, param.description or "")


def _minutes(limit: timedelta | None) -> str:
    return f"{limit.total_seconds() / 60:.0f} min" if limit else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Write the tables into the page, between its two comments."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PAGE.parents[1] / "dags")
    table = task_table(bag.dags["irt_analytics_daily"])
    PAGE.write_text(_TABLES.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
