"""Small answer logs and item banks written straight into the database, jobs run on them, and what they wrote."""

import importlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from psycopg import sql

from irt_analytics import db
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, Shard, run_job
from irt_analytics.settings import Settings


def at(day: str, clock: str = "12:00") -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(f"{day}T{clock}:00+00:00")


def attempt(student: str, item: str, when: datetime, correct: bool | None = True, **others: Any) -> dict[str, Any]:
    """One answer; columns that are not given are not recorded."""
    row = {"student_id": student, "item_id": item, "topic_id": "t", "completed_at": when, "correct": correct}
    return row | others


def simulate_log(
    *, learners: int, items: int, last_day: date, days: int = 28, topics: int = 1, seed: int = 1, share: float = 1.0
) -> pd.DataFrame:
    """Each learner's one answer to each of the items (or a share of them) at a random moment, under the 2PL."""
    rng = np.random.default_rng(seed)
    a, b = np.exp(rng.normal(0.0, 0.3, items)), rng.normal(0.0, 1.0, items)
    theta = rng.normal(0.0, 1.0, learners)
    student, item = np.nonzero(rng.random((learners, items)) < share)
    p = 1.0 / (1.0 + np.exp(-a[item] * (theta[student] - b[item])))
    start = datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) - timedelta(days=days - 1)
    seconds = rng.integers(0, days * 86_400, len(student))
    return pd.DataFrame(
        {
            "student_id": [f"s{i:04}" for i in student],
            "item_id": [f"i{j:03}" for j in item],
            "topic_id": [f"t{j % topics}" for j in item],
            "correct": rng.random(len(student)) < p,
            "completed_at": pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s"),
        }
    )


def write_log(settings: Settings, rows: "list[dict[str, Any]] | pd.DataFrame", tenant: str = "default") -> None:
    """Append answers to a tenant's log."""
    with db.connect(settings) as connection:
        db.copy_frame(connection, "attempt_log", pd.DataFrame(rows).assign(tenant_id=tenant))


def tag_anchors(settings: Settings, items: list[str], tenant: str = "default") -> None:
    """Mark items as anchors."""
    rows = [{"tenant_id": tenant, "item_id": item, "topic_id": None, "meta": {"tags": ["anchor"]}} for item in items]
    with db.connect(settings) as connection:
        db.copy_frame(connection, "question", pd.DataFrame(rows))


def publish_bank(
    settings: Settings,
    items: list[dict[str, Any]],
    *,
    as_of: date,
    window_start: date,
    latent: tuple[float, float] = (0.0, 1.0),
    tenant: str = "default",
    run_id: str = "by hand",
    model: str = "2PL",
) -> None:
    """Publish items (item_id, a, b and whatever else is given) as a calibration of a day."""
    meta = {
        "run_id": run_id,
        "as_of": as_of,
        "window_start": window_start,
        "window_end": as_of,
        "window_extended": False,
        "model": model,
        "engine": "test",
        "engine_version": "0",
        "code_version": "0",
        "data_fingerprint": "0",
        "n_persons": 0,
        "n_items": len(items),
        "n_responses": 0,
        "converged": True,
        "iterations": 0,
        "latent_mean": latent[0],
        "latent_sd": latent[1],
        "priors": "none",
        "published": True,
        "published_at_as_of": as_of,
        "tenant_id": tenant,
    }
    rows = [
        {"c": 0.0, "n_responses": 1000, "anchor": False, "status": "estimated", "first_published_as_of": as_of} | item
        for item in items
    ]
    with db.connect(settings) as connection:
        db.copy_frame(connection, "mirt_fit_meta", pd.DataFrame([meta]))
        db.copy_frame(connection, "mirt_item_params", pd.DataFrame(rows).assign(tenant_id=tenant, run_id=run_id))


def run(
    settings: Settings,
    job: str,
    as_of: date,
    *,
    tenant: str = "default",
    dry_run: bool = False,
    shard: str | None = None,
    **params: Any,
) -> int:
    """Run a job in this process; its exit code."""
    module: Job = importlib.import_module(f"irt_analytics.jobs.{job}").JOB
    own = None if shard is None else Shard.parse(shard)
    return run_job(
        module,
        tenant=tenant,
        as_of=as_of,
        params=RunParams(**params),
        settings=settings,
        dry_run=dry_run,
        shard=own,
    )


def query(settings: Settings, statement: str, *values: Any) -> pd.DataFrame:
    """Rows of a query."""
    with db.connect(settings) as connection:
        cursor = connection.execute(statement.encode(), values)
        assert cursor.description is not None
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def rows_of(settings: Settings, table: str, tenant: str = "default") -> pd.DataFrame:
    """A tenant's rows of a table in the order of its key, but for the columns that tell the time of writing."""
    with db.connect(settings) as connection:
        key = connection.execute(
            """
            select attname from pg_index, unnest(indkey) with ordinality as key (attnum, place)
            join pg_attribute using (attnum)
            where indrelid = %s::regclass and attrelid = indrelid and indisprimary
            order by place
            """,
            (table,),
        ).fetchall()
        statement = sql.SQL("select * from {} where tenant_id = %s order by {}").format(
            sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for (name,) in key)
        )
        cursor = connection.execute(statement, (tenant,))
        assert cursor.description is not None
        frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
    return frame.drop(columns=["created_at"], errors="ignore")


def last_run(settings: Settings) -> dict[str, Any]:
    """The newest job_run row."""
    return dict(query(settings, "select * from job_run order by job_run_id desc limit 1").iloc[0])
