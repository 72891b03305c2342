"""An installation by the official charts, and a day in it: what `make images`, `make k8s-up` and `make k8s-demo` do.

The R services are left out here: their jobs end as skips, and everything else of the day is the product's.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import psycopg
import pytest
from tests.airflow_home import ROOT
from tests.charts import need_charts
from tests.k8s.conftest import CLUSTER, Cluster

from irt_analytics.cli import JOBS
from irt_analytics.demo.airflow import DAG_ID, Client
from irt_analytics.deploy.cluster import forwarded, kubectl, read_secret
from irt_analytics.deploy.images import AIRFLOW, TRIAL, Builder
from irt_analytics.deploy.images import JOBS as JOBS_IMAGE
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.deploy.run import TENANT, Run, load, run_day
from irt_analytics.deploy.trial import Trial, uninstall

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

DAY = date(2026, 1, 31)
COHORT = ("simulate", "--as-of", str(DAY), "--learners", "200", "--items", "60", "--topics", "6", "--weeks", "12")
#: The cluster's base image is made by this machine, and no registry is reached.
BUILD_OPTIONS = ("--isolation", "chroot", "--network", "host", "--pull-never")
CONF = {"learner_pages": "none"}


@pytest.fixture(scope="module")
def trial(cluster: Cluster, shell_image: str) -> Iterator[Trial]:  # noqa: ARG001 - the base image, and a running cluster
    """The product in the local cluster, from images of this checkout; removed afterwards."""
    need_charts()
    os.environ["STORAGE_DRIVER"] = "overlay"
    builder = Builder(ROOT, "buildah", options=BUILD_OPTIONS)
    for image in (AIRFLOW, JOBS_IMAGE, *TRIAL):
        loaded = subprocess.run([CLUSTER, "load", builder.build(image).reference], capture_output=True, text=True)
        assert loaded.returncode == 0, loaded.stderr
    found = Trial(ROOT, services=())
    uninstall()
    found.install(print)
    yield found
    uninstall()


@pytest.fixture(scope="module")
def day(trial: Trial) -> Run:  # noqa: ARG001
    """A simulated cohort's day, triggered through Airflow's REST API."""
    assert load((*COHORT, "--tenant", TENANT), print) == DAY
    return run_day(DAY, CONF, print)


def test_every_task_ends_well_and_the_report_is_where_it_says(day: Run) -> None:
    assert set(JOBS) <= set(day.seconds)
    assert {name: url.rpartition(".")[2] for name, url in day.reports.items()} == {"html": "html", "pdf": "pdf"}


def test_nothing_is_left_of_the_jobs(day: Run) -> None:  # noqa: ARG001
    """Pods and credentials that outlive their task would fill the namespace, and be found."""
    pods = kubectl("get", "pods", "-n", JOBS_NAMESPACE, "-l", "kubernetes_pod_operator=True", "-o", "name")
    secrets = kubectl("get", "secrets", "-n", JOBS_NAMESPACE, "--field-selector=type=Opaque", "-o", "name")
    assert (pods, secrets) == ("", "")


def answers_url() -> str:
    found = read_secret("calibrate-irt-credentials", AIRFLOW_NAMESPACE)
    assert found is not None
    return found["DATABASE_URL"]


@dataclass(frozen=True)
class Place:
    """Somewhere a credential could have been left."""

    name: str
    text: str


@pytest.fixture(scope="module")
def places(day: Run) -> list[Place]:
    """What a person with access to Airflow, its logs, its database or the cluster's objects could read."""
    found = [
        Place("pods", kubectl("get", "pods", "-A", "-o", "json")),
        Place("events", kubectl("get", "events", "-A", "-o", "json")),
        Place("config maps", kubectl("get", "configmaps", "-n", AIRFLOW_NAMESPACE, "-o", "json")),
    ]
    for name in ("airflow-scheduler", "airflow-api-server", "airflow-dag-processor"):
        log = kubectl("logs", "-n", AIRFLOW_NAMESPACE, f"deployment/{name}", "--all-containers")
        found.append(Place(name, log))
    secret = read_secret("airflow-secrets", AIRFLOW_NAMESPACE)
    assert secret is not None
    with forwarded("service/airflow-api-server", 8080, AIRFLOW_NAMESPACE) as port:
        client = Client(f"http://127.0.0.1:{port}")
        client.log_in(secret["admin-password"])
        run = f"/api/v2/dags/{DAG_ID}/dagRuns/{day.run_id}/taskInstances"
        for task in client.tasks(day.run_id):
            found.append(Place(f"{task['task_id']}: rendered fields", json.dumps(task)))
            for part in ("xcomEntries", "logs/1"):
                answer = client.request("GET", f"{run}/{task['task_id']}/{part}")
                found.append(Place(f"{task['task_id']}: {part}", json.dumps(answer)))
    with forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port:
        url = secret["connection"].replace("postgresql+psycopg2:", "postgresql:")
        with psycopg.connect(url, hostaddr="127.0.0.1", port=port) as metadata:
            names = metadata.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
            for (name,) in names:
                rows = metadata.execute(f'select t::text from "{name}" as t').fetchall()
                found.append(Place(f"metadata: {name}", "\n".join(row[0] for row in rows)))
    return found


def test_no_credential_is_anywhere_but_in_its_secret(places: list[Place]) -> None:
    assert sum(len(place.text) for place in places) > 100_000, "there is nothing to search"
    store = read_secret("irt-s3", AIRFLOW_NAMESPACE) or {}
    airflow = read_secret("airflow-secrets", AIRFLOW_NAMESPACE) or {}
    canaries = {
        "database password": str(psycopg.conninfo.conninfo_to_dict(answers_url())["password"]),
        "metadata password": str(
            psycopg.conninfo.conninfo_to_dict(airflow["connection"].replace("+psycopg2", ""))["password"]
        ),
        "secret key of S3": store["secret-key"],
        "administrator's password": airflow["admin-password"],
        "Fernet key": airflow["fernet-key"],
    }
    assert all(len(value) > 30 for value in canaries.values())
    found = [(name, place.name) for name, value in canaries.items() for place in places if value in place.text]
    assert found == []


def may(account: str, namespace: str, home: str = AIRFLOW_NAMESPACE) -> dict[str, set[str]]:
    """What an account may do with a namespace's things, beyond what every account may ask of itself."""
    text = kubectl("auth", "can-i", "--list", "-n", namespace, f"--as=system:serviceaccount:{home}:{account}")
    rows = [re.split(r"\s{2,}|(?<=\])\s+", line.strip()) for line in text.splitlines()[1:]]
    everybody = {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
    return {
        row[0]: set(row[-1].strip("[]").split())
        for row in rows
        if not row[0].startswith("[") and row[0].partition(".")[0] not in everybody
    }


def test_accounts_may_do_what_the_docs_list_and_no_more(day: Run) -> None:  # noqa: ARG001
    assert may("airflow-scheduler", JOBS_NAMESPACE) == {
        "pods": {"create", "get", "list", "delete"},
        "pods/log": {"get"},
        "events": {"list"},
        "secrets": {"create"},
    }
    assert may("irt-jobs-cleanup", JOBS_NAMESPACE, JOBS_NAMESPACE) == {"pods": {"list", "delete"}}
    for account in ("airflow-scheduler", "airflow-api-server", "airflow-dag-processor", "default"):
        assert may(account, AIRFLOW_NAMESPACE) == {}, account
    assert may("default", JOBS_NAMESPACE, JOBS_NAMESPACE) == {}
