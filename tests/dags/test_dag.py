"""The daily Dag as Airflow reads it: chain, retries, timeouts, params, docs, assets."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from irt_airflow.conf import refuse_incomplete_day
from irt_airflow.days import as_of
from irt_airflow.pipeline_pod import PipelinePodOperator
from irt_airflow.task_table import task_table
from irt_analytics.cli import JOBS
from irt_analytics.params import RunParams

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dag() -> DAG:
    bag = DagBag(ROOT / "dags")
    assert not bag.import_errors
    return bag.dags["irt_analytics_daily"]


#: Run beside one another after the KPIs.
BRANCHES = {"fit_glmm", "fit_survival_churn", "forecast_prophet", "fit_bayesian_growth", "cluster_segments"}


def test_tasks_form_the_documented_chain(dag: DAG) -> None:
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "prepare_schema": set(),
        "check_attempts": {"prepare_schema"},
        "mirt_calibrate": {"check_attempts"},
        "split_learners": {"check_attempts"},
        "features_shards": {"check_attempts", "mirt_calibrate", "split_learners"},
        "features_backfill": {"check_attempts", "mirt_calibrate", "features_shards"},
        "kpi_shards": {"features_backfill", "split_learners"},
        "compute_daily_kpis": {"features_backfill", "kpi_shards"},
        **{branch: {"compute_daily_kpis"} for branch in BRANCHES},
        "generate_weekly_report": {"compute_daily_kpis", *BRANCHES},
        "all_branches_ok": {"mirt_calibrate", "features_shards", "kpi_shards", *BRANCHES, "generate_weekly_report"},
        "notify_if_failed": {*BRANCHES, "generate_weekly_report"},
    }


def test_report_outlives_a_branch_and_the_run_does_not(dag: DAG) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks if task.trigger_rule != "all_success"}
    assert rules == {
        "features_shards": "all_done_min_one_success",
        "features_backfill": "all_done_min_one_success",
        "compute_daily_kpis": "all_done_min_one_success",
        "generate_weekly_report": "all_done_min_one_success",
        "all_branches_ok": "none_failed",
        "notify_if_failed": "all_done",
    }


def test_every_job_of_the_command_line_has_its_task(dag: DAG) -> None:
    """A job without a task would never run; a task without a job would fail every night."""
    assert {task.job for task in dag.tasks if isinstance(task, PipelinePodOperator)} == set(JOBS)


def test_runs_once_a_night_and_never_twice_at_a_time(dag: DAG) -> None:
    assert isinstance(dag.timetable, CronTriggerTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("0 3 * * *", "UTC")
    assert not dag.catchup
    assert dag.max_active_runs == 1


def test_retries_wait_longer_than_a_job_may_take_to_roll_back(dag: DAG) -> None:
    from irt_airflow.pod import GRACE_SECONDS

    for task in dag.tasks:
        assert task.retries == 2
        assert task.retry_delay > timedelta(seconds=GRACE_SECONDS)
        assert task.retry_exponential_backoff > 1


def test_every_task_that_works_has_a_timeout(dag: DAG) -> None:
    working = [task for task in dag.tasks if task.task_id != "all_branches_ok"]
    assert all(task.execution_timeout for task in working)


def test_dag_and_tasks_explain_themselves(dag: DAG) -> None:
    assert dag.doc_md
    assert "From yesterday's answers" in dag.doc_md
    assert dag.description
    assert dag.tags
    for task in dag.tasks:
        assert task.doc_md, task.task_id
        assert task.owner != "airflow", task.task_id


def test_downstream_dags_can_wait_for_items_kpis_and_report(dag: DAG) -> None:
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {
        "mirt_calibrate": ["irt_item_parameters"],
        "compute_daily_kpis": ["irt_weekly_kpis"],
        "generate_weekly_report": ["irt_weekly_report"],
    }


def test_params_are_the_command_line_s_with_the_same_defaults_and_limits(dag: DAG) -> None:
    """A value that the form takes and the job refuses would fail a night later."""
    own = RunParams.model_json_schema()["properties"]
    form = {name: dag.params.get_param(name) for name in dag.params if name not in ("as_of", "tenant")}
    assert form.keys() == own.keys()
    for name, schema in own.items():
        param, arms = form[name], {arm.get("type"): arm for arm in schema.get("anyOf", [schema])}
        assert param.value == schema.get("default"), name
        given = param.schema["type"]
        assert set([given] if isinstance(given, str) else given) == set(arms), name
        for key in ("enum", "minimum", "maximum"):
            limits = [arm[key] for arm in arms.values() if key in arm]
            assert param.schema.get(key) == (limits[0] if limits else None), (name, key)


def test_every_param_is_a_form_field_that_explains_itself(dag: DAG) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.description, name
        assert param.schema["title"], name


@pytest.mark.parametrize("value", ["2026-13-01", "yesterday", 20260131])
def test_form_refuses_what_is_not_a_day(dag: DAG, value: object) -> None:
    with pytest.raises(ParamValidationError):
        dag.params.get_param("as_of").resolve(value)


@pytest.mark.parametrize(
    ("given", "logical_date", "run_after", "expected"),
    [
        ("2026-01-31", datetime(2026, 3, 1, 3, tzinfo=UTC), datetime(2026, 3, 1, 3, tzinfo=UTC), "2026-01-31"),
        (None, datetime(2026, 3, 1, 3, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "2026-02-28"),
        (None, None, datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC), "2026-02-28"),
        # 00:30 in Seoul is still the day before in UTC
        (None, None, datetime.fromisoformat("2026-03-01T00:30:00+09:00"), "2026-02-27"),
    ],
)
def test_day_depends_on_nothing_that_changes_between_tries(
    given: str | None, logical_date: datetime | None, run_after: datetime, expected: str
) -> None:
    run = SimpleNamespace(logical_date=logical_date, run_after=run_after)
    assert as_of({"as_of": given}, run) == expected


@pytest.mark.parametrize(
    ("given", "logical_date", "run_after", "refused"),
    [
        ("2026-02-28", None, datetime(2026, 3, 1, tzinfo=UTC), None),
        ("2026-03-01", None, datetime(2026, 3, 1, 23, 59, tzinfo=UTC), "2026-03-01"),
        ("2026-03-02", None, datetime(2026, 3, 1, tzinfo=UTC), "2026-03-02"),
        # 08:59 of the first in Seoul is still the last of February in UTC
        ("2026-02-28", None, datetime.fromisoformat("2026-03-01T08:59:00+09:00"), "2026-02-28"),
        # the schedule, a backfill and a manual run whose date is ahead
        (None, datetime(2026, 3, 1, 3, tzinfo=UTC), datetime(2026, 3, 1, 3, tzinfo=UTC), None),
        (None, datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), "2026-03-02"),
    ],
)
def test_day_that_was_not_over_is_refused(
    given: str | None, logical_date: datetime | None, run_after: datetime, refused: str | None
) -> None:
    """Its results would be published without the answers still to come, and look like any other day's."""
    run = SimpleNamespace(logical_date=logical_date, run_after=run_after)
    context: Any = {"params": {"as_of": given}, "dag_run": run}
    if refused is None:
        refuse_incomplete_day(context)
    else:
        with pytest.raises(AirflowFailException, match=f"as_of={refused} was not over"):
            refuse_incomplete_day(context)


@pytest.mark.parametrize(
    ("engine", "connections"), [("native", ("seedtest_db", "")), ("mirt", ("seedtest_db", "r_irt"))]
)
def test_calibration_needs_the_r_service_only_where_r_calibrates(
    dag: DAG, engine: str, connections: tuple[str, ...]
) -> None:
    """An installation without R must not need a connection to it, and its token goes only where it is used."""
    task: Any = dag.get_task("mirt_calibrate")
    assert task.render_template(task.connections, {"params": {"irt_engine": engine}}) == connections


def test_parsing_is_cheap_and_loads_no_client_of_anything() -> None:
    """The Dag processor parses the file every half minute, and every task once more."""
    program = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "dags")!r}, {str(ROOT / "plugins")!r}]
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
bag = DagBag({str(ROOT / "dags")!r})
spent = time.process_time() - began
heavy = [name for name in ("kubernetes", "pandas", "numpy", "psycopg", "irt_analytics") if name in sys.modules]
print(list(bag.dags), bag.import_errors, heavy, spent < 2.0)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "['irt_analytics_daily'] {} [] True"


def test_documented_task_table_is_the_dag_s(dag: DAG) -> None:
    text = (ROOT / "docs" / "dag.md").read_text(encoding="utf-8")
    assert task_table(dag) in text, "run `python -m irt_airflow.task_table` with plugins on the path"


def test_serialised_dag_holds_every_task(dag: DAG) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    stored: Any = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert set(stored.task_dict) == set(dag.task_dict)
    links = stored.get_task("generate_weekly_report").operator_extra_links
    assert [link.name for link in links] == ["Open report"]
