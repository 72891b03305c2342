"""Statements of the database exporter, on the schema they are written for: a renamed column would silence alerts."""

from typing import Any

import psycopg
import pytest
import yaml
from tests.airflow_home import ROOT

VALUES = yaml.safe_load((ROOT / "helm-values" / "database-exporter.yaml").read_text())
QUERIES: dict[str, Any] = yaml.safe_load(VALUES["configMap"]["files"]["queries"]["queries.yaml"])

RUNS = """
    insert into job_run (tenant_id, job, as_of, status, code_version, finished_at, duration_s, peak_memory_mb) values
    ('a', 'fit_glmm', '2026-01-29', 'success', 'v', now(), 10, 100),
    ('a', 'fit_glmm', '2026-01-30', 'success', 'v', now(), 12, 100),
    ('a', 'fit_glmm', '2026-01-31', 'failed', 'v', now(), 3, 200),
    ('b', 'fit_glmm', '2026-01-31', 'lost', 'v', now(), 3, 200),
    ('b', 'fit_glmm', '2026-01-31', 'success', 'v', now(), 5, 50)
"""


def rows(connection: psycopg.Connection[Any], name: str) -> list[dict[str, Any]]:
    cursor = connection.execute(QUERIES[name]["query"])
    assert cursor.description is not None
    columns = [column.name for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor]


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_gives_the_figures_that_are_announced(transaction: psycopg.Connection[Any], name: str) -> None:
    cursor = transaction.execute(QUERIES[name]["query"])
    assert cursor.description is not None
    announced = {figure for metric in QUERIES[name]["metrics"] for figure in metric}
    assert {column.name for column in cursor.description} == announced


def test_a_job_that_failed_keeps_the_day_of_its_last_success(transaction: psycopg.Connection[Any]) -> None:
    transaction.execute(RUNS)
    a, b = sorted(rows(transaction, "irt_job"), key=lambda row: str(row["tenant"]))
    assert (a["tenant"], a["last_failed"], a["last_duration_seconds"]) == ("a", 1, 3)
    assert a["last_peak_memory_bytes"] == 200 * 2**20
    assert float(a["last_success_as_of_seconds"]) == 1769731200, "2026-01-30"
    assert (b["tenant"], b["last_failed"], float(b["last_success_as_of_seconds"])) == ("b", 0, 1769817600)
