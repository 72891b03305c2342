"""Statements of the database exporter, on the schema they are written for: a renamed column would silence alerts."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
import yaml
from tests.airflow_home import ROOT

from irt_analytics import db

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


def test_the_share_at_risk_reads_two_days_however_many_there_are(transaction: psycopg.Connection[Any]) -> None:
    """It is asked for every minute; over a year of 100,000 learners the answer would take longer than that."""
    newest = date(2026, 2, 3)
    days = [newest - timedelta(days=days) for days in (0, 1, 7, 8, 40)]
    db.ensure_partitions(transaction, days)
    for tenant, at_risk in (("a", 2), ("b", 4)):
        for day in days:
            transaction.execute(META, {"tenant": tenant, "day": day, "status": "success"})
            transaction.execute(RISKS, {"tenant": tenant, "day": day, "at_risk": at_risk + (day == newest)})
    transaction.execute("delete from survival_risk where tenant_id = 'b' and as_of = %s", (newest - timedelta(days=7),))
    transaction.execute(META, {"tenant": "a", "day": newest + timedelta(days=1), "status": "skipped"})
    transaction.execute("set local enable_seqscan = off")  # these few rows it would rather read all
    found = {
        row["tenant"]: (row["at_risk_share"], row["at_risk_share_week_before"])
        for row in rows(transaction, "irt_churn")
    }
    assert {tenant: [share and float(share) for share in shares] for tenant, shares in found.items()} == {
        "a": [0.3, 0.2],
        "b": [0.5, None],
    }
    plan = transaction.execute(f"explain (analyze, format json) {QUERIES['irt_churn']['query']}".encode()).fetchone()
    assert plan is not None
    assert sum(rows_read(plan[0][0]["Plan"], "survival_risk")) == 30


META = """
    insert into survival_fit_meta
        (tenant_id, run_id, as_of, status, reason, horizon_days, n_rows, covariates, dropped, baseline, evaluation)
    values (
        %(tenant)s, %(day)s::date::text, %(day)s, %(status)s, case %(status)s when 'skipped' then 'a gap' end, 14, 10,
        '[]', '[]', '{}', '{}'
    )
"""
RISKS = """
    insert into survival_risk
    select %(tenant)s, 'u' || n, %(day)s, date_trunc('week', %(day)s::date::timestamp)::date, 'r', risk, risk, risk, 0,
        %(day)s, 1, risk >= 0.5
    from generate_series(1, 10) as n
    cross join lateral (select case when n <= %(at_risk)s then 0.9 else 0.1 end as risk) as drawn
"""


def rows_read(node: dict[str, Any], table: str) -> Iterator[float]:
    """Rows that the scans of a table give, in a plan that was carried out."""
    if str(node.get("Relation Name", "")).startswith(table):
        yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from rows_read(child, table)
