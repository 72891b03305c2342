"""Other ways to install the product, and the way back from an upgrade, each seen by a day that it computes."""

import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from tests.airflow_home import ROOT
from tests.databases import settings_of
from tests.integration.chain import contents
from tests.k8s.conftest import COHORT, CONF, DAY, Cluster, Witness
from tests.k8s.installation import airflow, await_nothing_left, await_state, clear, results
from tests.k8s.reachable import free_port, reached_from_pods

from irt_analytics.cli import JOBS
from irt_analytics.deploy.cluster import await_rollout, kubectl, read_secret, write_secret
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, helm, product
from irt_analytics.deploy.run import TENANT, Run, run_day
from irt_analytics.deploy.trial import AIRFLOW_DEPLOYMENTS, TOKEN_SECRETS, Trial, given_report_store

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3000)]


@pytest.fixture
def back_to_the_trial(trial: Trial) -> Iterator[None]:
    """Afterwards the installation is the one that other tests know."""
    yield
    trial.install(print)


def test_tasks_in_pods_of_their_own_give_the_same_day(
    trial: Trial,
    day: Run,  # noqa: ARG001
    back_to_the_trial: None,  # noqa: ARG001
) -> None:
    before = results()
    replace(trial, executor="KubernetesExecutor").install(print)
    with Witness(AIRFLOW_NAMESPACE) as seen:
        run_day(DAY, CONF, print)
    workers = {pod["metadata"]["labels"].get("task_id") for pod in seen.pods.values()}
    assert set(JOBS) | {"check_attempts"} <= workers
    await_nothing_left()
    assert results() == before


def test_an_upgrade_can_be_taken_back(day: Run, back_to_the_trial: None) -> None:  # noqa: ARG001
    """Of the values, that is; of the code, see tests/prove/test_rollback.py."""
    before = results()
    release = next(one for one in product("trial", root=ROOT) if one.name == "airflow")
    changed = replace(release, settings=("config.core.parallelism=7",))
    helm("upgrade", "--install", *changed.arguments(ROOT), "--timeout", "15m")
    await_airflow()
    assert parallelism() == "7"
    helm("rollback", release.name, "-n", release.namespace, "--timeout", "15m")
    await_airflow()
    assert parallelism() != "7"
    clear(day.run_id, "features_backfill")
    await_state(day.run_id, {"features_backfill": "success"})
    assert results() == before


def await_airflow() -> None:
    for name in AIRFLOW_DEPLOYMENTS:
        await_rollout("deployment", name, AIRFLOW_NAMESPACE)


def parallelism() -> str:
    """How many tasks the scheduler that runs now may run at a time."""
    command = ("exec", "-n", AIRFLOW_NAMESPACE, "deployment/airflow-scheduler", "-c", "scheduler", "--")
    return kubectl(*command, "airflow", "config", "get-value", "core", "parallelism").strip()


@pytest.fixture
def bucket(cluster: Cluster) -> Iterator[dict[str, str]]:
    """An S3 of this machine; gives the environment in which a user would name a folder of a bucket of it."""
    server = ThreadedMotoServer(ip_address=cluster.host, port=free_port(cluster.host), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    named = {
        "REPORT_STORE_URL": "s3://given/weekly",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "analyst",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
    }
    files_in(named).create()
    yield named
    server.stop()


def files_in(named: dict[str, str]) -> Any:
    session = boto3.Session(named["AWS_ACCESS_KEY_ID"], named["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    return session.resource("s3", endpoint_url=named["AWS_ENDPOINT_URL"]).Bucket("given")


@pytest.fixture
def given(
    trial: Trial,
    day: Run,  # noqa: ARG001
    cluster: Cluster,
    bucket: dict[str, str],
    back_to_the_trial: None,  # noqa: ARG001
) -> Iterator[str]:
    """The product on a database and a store that are not its own; gives the URL that this machine has of the first."""
    secret = TOKEN_SECRETS["irt"]
    kept = read_secret(secret, AIRFLOW_NAMESPACE)
    assert kept is not None
    try:
        with reached_from_pods(cluster.host, f"pw-{secrets.token_hex(12)}/%@") as (here, there):
            for command in (("prepare_schema", f"--as-of={DAY}"), (*COHORT, "--tenant", TENANT)):
                subprocess.run(
                    [sys.executable, "-m", "irt_analytics", *command],
                    env={**os.environ, "DATABASE_URL": here},
                    check=True,
                )
            replace(trial, database_url=url_of(there), report_store=given_report_store(bucket)).install(print)
            yield here
    finally:
        write_secret(secret, AIRFLOW_NAMESPACE, kept)


def url_of(conninfo: str) -> str:
    """A libpq string as the URL that a user would give."""
    known = psycopg.conninfo.conninfo_to_dict(conninfo)
    login = f"{known['user']}:{quote(str(known['password']), safe='')}"
    return f"postgresql://{login}@{known['host']}:{known['port']}/{known['dbname']}?sslmode=disable"


def test_a_database_and_a_store_of_the_user_s_own_are_what_is_read_and_written(
    given: str, bucket: dict[str, str]
) -> None:
    began = datetime.now(UTC)
    with airflow() as client:
        run_id = client.trigger({"as_of": DAY.isoformat(), "tenant": TENANT, **CONF})
    await_state(run_id, {"all_branches_ok": "success"}, seconds=1500)
    with psycopg.connect(given) as connection:
        rows = connection.execute("select job, status from job_run where started_at > %s", [began]).fetchall()
        registered = connection.execute("select url, sha256 from report_artifacts").fetchall()
    assert dict(rows) == dict.fromkeys(set(JOBS), "success")
    assert not contents(settings_of(given))["weekly_kpi"].startswith("0 rows")
    stored = [
        (f"s3://given/{item.key}", hashlib.sha256(item.get()["Body"].read()).hexdigest())
        for item in files_in(bucket).objects.all()
    ]
    assert sorted(stored) == sorted(registered)
    assert {url.rpartition(".")[2] for url, _ in stored} == {"html", "pdf", "csv"}
