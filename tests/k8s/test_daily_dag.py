"""The whole day as real pods: image, Dag, credentials from connections, PostgreSQL and S3 across the network."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import boto3
import psycopg
import pytest
from kubernetes import client
from moto.server import ThreadedMotoServer
from psycopg import sql
from tests.airflow_home import ROOT, migrate_metadata
from tests.databases import settings_of
from tests.k8s.conftest import Cluster, Witness
from tests.k8s.reachable import free_port, reached_from_pods

from irt_analytics import db
from irt_analytics.cli import JOBS
from irt_analytics.db.sources import define_attempt_view
from irt_analytics.simulate import Plan, write_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

AS_OF = date(2026, 1, 31)
IMAGE = "localhost/irt-jobs:test"
BUCKET = "reports"
COHORT = Plan(as_of=AS_OF, learners=200, items=60, topics=6, weeks=12)


@pytest.fixture(scope="module")
def password() -> str:
    return f"pw-{secrets.token_hex(12)}/%@"


@pytest.fixture(scope="module")
def answers(cluster: Cluster, password: str) -> Iterator[str]:
    """A PostgreSQL that pods reach with a password, holding a simulated log; gives its URL."""
    with reached_from_pods(cluster.host, password) as (here, there):
        with db.connect(settings_of(here)) as connection:
            db.migrate(connection)
            define_attempt_view(connection, "flat")
            connection.commit()
            write_database(connection, COHORT, "default")
            connection.commit()
        yield there


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Iterator[str]:
    """An S3 that pods reach; gives its endpoint."""
    server = ThreadedMotoServer(ip_address=cluster.host, port=free_port(cluster.host))
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket(endpoint).create()
    yield endpoint
    server.stop()


def bucket(endpoint: str) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return session.resource("s3", endpoint_url=endpoint).Bucket(BUCKET)


@dataclass(frozen=True)
class Day:
    """One run of the Dag by Airflow: what became of its tasks, what the namespace saw, what was logged."""

    run_id: str
    states: dict[str, str]
    link: str
    seen: Witness
    log: str


@pytest.fixture(scope="module")
def day(cluster: Cluster, answers: str, store: str, password: str, tmp_path_factory: pytest.TempPathFactory) -> Day:
    cluster.build(IMAGE, ROOT, str(ROOT / "include" / "irt_analytics" / "Dockerfile"))
    migrate_metadata()
    info = psycopg.conninfo.conninfo_to_dict(answers)
    folder = tmp_path_factory.mktemp("day")
    connections = {
        "seedtest_db": {
            "conn_type": "postgres",
            "host": info["host"],
            "port": int(str(info["port"])),
            "login": info["user"],
            "password": password,
            "schema": info["dbname"],
        },
        "report_store": {
            "conn_type": "aws",
            "login": "test",
            "password": f"{password}-s3",
            "extra": {"url": f"s3://{BUCKET}/weekly", "region_name": "us-east-1", "endpoint_url": store},
        },
        **{
            f"r_{name}": {"conn_type": "http", "extra": {"unavailable": "this cluster has no R services"}}
            for name in ("glmm", "forecast", "brms")
        },
    }
    (folder / "connections.json").write_text(json.dumps(connections))
    environment = {
        **os.environ,
        "IRT_RUNTIME": "kubernetes",
        "IRT_JOBS_IMAGE": IMAGE,
        "IRT_JOBS_NAMESPACE": cluster.namespace,
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    program = [sys.executable, str(ROOT / "tests" / "k8s" / "run_day.py")]
    arguments = [AS_OF.isoformat(), str(folder / "connections.json"), str(folder / "result.json")]
    with (folder / "log").open("w") as log, Witness(cluster.namespace) as seen:
        ended = subprocess.run(
            [*program, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    text = (folder / "log").read_text()
    assert ended.returncode == 0, text[-5000:]
    return Day(**json.loads((folder / "result.json").read_text()), seen=seen, log=text)


def test_every_task_of_the_day_succeeds(day: Day) -> None:
    assert set(day.states.values()) == {"success"}, day.log[-8000:]


def test_each_job_is_one_pod_and_the_checks_need_none(day: Day) -> None:
    jobs = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in day.seen.pods.values())
    assert jobs == sorted(JOBS)


@pytest.mark.parametrize(
    "table",
    [
        "mirt_fit_meta",
        "mirt_item_params",
        "mirt_ability",
        "student_week_theta",
        "student_topic_theta",
        "features_topic_daily",
        "weekly_kpi",
        "segment_meta",
        "report_artifacts",
    ],
)
def test_pods_committed_what_the_day_computes(day: Day, answers: str, table: str) -> None:
    source = sql.SQL("mirt_item_params join mirt_fit_meta using (run_id)").as_string()
    if table != "mirt_item_params":
        source = sql.Identifier(table).as_string()
    with psycopg.connect(answers) as connection:
        row = connection.execute(f"select count(*) from {source} where as_of = %s".encode(), (AS_OF,)).fetchone()
    assert row is not None
    assert row[0] > 0, day.states


def test_books_name_run_and_try(day: Day, answers: str) -> None:
    with psycopg.connect(answers) as connection:
        rows = connection.execute("select job, dag_run_id, try_number, status from job_run order by job").fetchall()
    assert {(job, run_id, number) for job, run_id, number, _ in rows} == {(job, day.run_id, 1) for job in JOBS}
    assert {status for *_, status in rows} <= {"success", "skipped"}


def test_report_is_in_the_store_and_behind_the_link(day: Day, store: str) -> None:
    keys = [item.key for item in bucket(store).objects.all()]
    pages = [key for key in keys if key.endswith(".html")]
    assert day.link in {f"{store}/{BUCKET}/{key}" for key in pages}
    assert any(key.endswith(".pdf") for key in keys)


def test_no_pod_spec_and_no_log_holds_a_credential(day: Day, password: str) -> None:
    assert len(day.seen.secrets) == len(JOBS)
    for text in (json.dumps(day.seen.pods), day.log):
        assert password not in text
        assert password.partition("/")[0] not in text, "not even as part of a URL"


def test_credentials_are_immutable_owned_and_gone(day: Day, cluster: Cluster) -> None:
    for name, secret in day.seen.secrets.items():
        assert secret["immutable"] is True
        (owner,) = secret["metadata"]["ownerReferences"]
        assert owner["uid"] == day.seen.pods[name]["metadata"]["uid"]
    assert not client.CoreV1Api().list_namespaced_pod(cluster.namespace).items


def test_pods_compile_nothing(day: Day) -> None:
    """Compiling takes half a minute of every pod's start; the image brings the kernels."""
    assert "[cache] data loaded" in day.log
    compiled = [line for line in day.log.splitlines() if "[cache] data saved" in line]
    assert not compiled, compiled
