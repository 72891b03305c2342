"""An installation by the official charts, and a day in it: what `make images`, `make k8s-up` and `make k8s-demo` do."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import boto3
import psycopg
import pytest
from tests.k8s.conftest import Witness
from tests.k8s.installation import airflow, answers, answers_url, leftovers
from tests.r.conftest import r_status, require_r

from irt_analytics import __version__
from irt_analytics.cli import JOBS as NAMES_OF_JOBS
from irt_analytics.demo.airflow import DAG_ID
from irt_analytics.deploy.cluster import forwarded, kubectl, read_secret
from irt_analytics.deploy.images import AIRFLOW, JOBS, LOCAL_REGISTRY, R_SERVICES, TRIAL, Image
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.deploy.run import TENANT, Run
from irt_analytics.deploy.trial import TOKEN_SECRETS

__all__ = ["r_status", "require_r"]  # fixtures of this module too

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def test_every_task_ends_well_and_the_report_is_where_it_says(day: Run) -> None:
    assert set(NAMES_OF_JOBS) <= set(day.seconds)
    assert {name: url.rpartition(".")[2] for name, url in day.reports.items()} == {"html": "html", "pdf": "pdf"}


def test_no_branch_was_skipped(day: Run) -> None:  # noqa: ARG001
    """A service that cannot be reached, or that is not installed, would show as a skip and not as a failure."""
    with answers() as settings, psycopg.connect(settings.database_url.get_secret_value()) as connection:
        query = "select job, reason from job_run where status = 'skipped' and tenant_id = %s"
        rows = connection.execute(query, [TENANT]).fetchall()
    assert rows == []


def test_each_job_was_one_pod(day: Run, witness: Witness) -> None:  # noqa: ARG001
    jobs = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in witness.job_pods())
    assert jobs == sorted(NAMES_OF_JOBS)


def test_nothing_is_left_of_the_jobs(day: Run) -> None:  # noqa: ARG001
    """Pods and credentials that outlive their task would fill the namespace, and be found."""
    assert leftovers() == ""


@dataclass(frozen=True)
class Place:
    """Somewhere a credential could have been left."""

    name: str
    text: str


@pytest.fixture(scope="module")
def places(day: Run, witness: Witness) -> list[Place]:
    """What a person with access to Airflow, its logs, its database, the node or the cluster's objects could read."""
    found = [
        Place("pods", kubectl("get", "pods", "-A", "-o", "json")),
        Place("pods of jobs", json.dumps(witness.pods)),
        Place("commands on the node", "\n".join(witness.commands)),
        Place("events", kubectl("get", "events", "-A", "-o", "json")),
        Place("config maps", kubectl("get", "configmaps", "-n", AIRFLOW_NAMESPACE, "-o", "json")),
    ]
    deployments = kubectl("get", "deployments", "-n", AIRFLOW_NAMESPACE, "-o", "name").split()
    assert len(deployments) >= 9
    found += [Place(name, kubectl("logs", "-n", AIRFLOW_NAMESPACE, name, "--all-containers")) for name in deployments]
    secret = read_secret("airflow-secrets", AIRFLOW_NAMESPACE)
    assert secret is not None
    with airflow() as client:
        run = f"/api/v2/dags/{DAG_ID}/dagRuns/{day.run_id}/taskInstances"
        for task in client.tasks(day.run_id):
            found.append(Place(f"{task['task_id']}: rendered fields", json.dumps(task)))
            for part in ("xcomEntries", "logs/1"):
                answer = client.request("GET", f"{run}/{task['task_id']}/{part}?map_index={task['map_index']}")
                found.append(Place(f"{task['task_id']}: {part}", json.dumps(answer)))
    with forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port:
        url = secret["connection"].replace("postgresql+psycopg2:", "postgresql:")
        with psycopg.connect(url, hostaddr="127.0.0.1", port=port) as metadata:
            names = metadata.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
            for (name,) in names:
                rows = metadata.execute(f'select t::text from "{name}" as t').fetchall()
                found.append(Place(f"metadata: {name}", "\n".join(row[0] for row in rows)))
    found.extend(files_of_the_store())
    return found


def files_of_the_store() -> list[Place]:
    """The reports' files and the tasks' logs as they lie in the trial's S3."""
    keys = read_secret("irt-s3", AIRFLOW_NAMESPACE)
    assert keys is not None
    with forwarded("service/irt-s3", 9000, AIRFLOW_NAMESPACE) as port:
        session = boto3.Session(keys["access-key"], keys["secret-key"], region_name="us-east-1")
        store = session.resource("s3", endpoint_url=f"http://127.0.0.1:{port}")
        found = [
            Place(f"{bucket}: {item.key}", item.get()["Body"].read().decode(errors="replace"))
            for bucket in ("reports", "task-logs")
            for item in store.Bucket(bucket).objects.all()
        ]
    assert len({place.name.partition(":")[0] for place in found}) == 2
    return found


def canaries() -> dict[str, str]:
    """The value of every credential there is, all of them random and used nowhere else."""
    store = read_secret("irt-s3", AIRFLOW_NAMESPACE) or {}
    secrets = read_secret("airflow-secrets", AIRFLOW_NAMESPACE) or {}
    metadata = psycopg.conninfo.conninfo_to_dict(secrets["connection"].replace("+psycopg2", ""))
    found = {
        "database password": str(psycopg.conninfo.conninfo_to_dict(answers_url())["password"]),
        "metadata password": str(metadata["password"]),
        "secret key of S3": store["secret-key"],
        "administrator's password": secrets["admin-password"],
        "Fernet key": secrets["fernet-key"],
        "key of the API's sessions": secrets["api-secret-key"],
        "key of the tasks' tokens": secrets["jwt-secret"],
    }
    for service, name in TOKEN_SECRETS.items():
        found[f"token of r-{service}-plumber"] = (read_secret(name, AIRFLOW_NAMESPACE) or {})["token"]
    assert all(len(value) > 30 for value in found.values())
    return found


def test_no_credential_is_anywhere_but_in_its_secret(places: list[Place]) -> None:
    assert sum(len(place.text) for place in places) > 100_000, "there is nothing to search"
    found = [(name, place.name) for name, value in canaries().items() for place in places if value in place.text]
    assert found == []


def buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.prove
@pytest.mark.parametrize("image", [AIRFLOW, JOBS, *TRIAL, *R_SERVICES.values()], ids=lambda image: image.name)
def test_no_image_holds_a_credential(
    image: Image,
    day: Run,  # noqa: ARG001
    planted: str,
    tmp_path: Path,
) -> None:
    """Whoever may pull it could read it: neither what lay about while it was built, nor what is used now."""
    values = {"planted": planted, **canaries()}
    (tmp_path / "values").write_text("\n".join(values.values()))
    reference = f"{LOCAL_REGISTRY}/{image.name}:{__version__}"
    settings = buildah("inspect", "--type", "image", reference)
    assert [name for name, value in values.items() if value in settings] == []
    container = buildah("from", "--pull-never", reference)
    try:
        root = buildah("mount", container)
        assert (Path(root) / "etc").is_dir()
        search = ["grep", "-rlaF", "-D", "skip", "-f", str(tmp_path / "values"), root]
        ended = subprocess.run(search, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")  # 1: no line found
    finally:
        buildah("rm", container)


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
