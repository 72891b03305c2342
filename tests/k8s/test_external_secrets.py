"""A credential from a store to a task of Airflow, by the real controller; the store is its provider `fake`."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client
from tests.airflow_home import ROOT
from tests.charts import CREDENTIALS, Object, need_charts, pods_of, render
from tests.k8s.conftest import CLUSTER, Cluster

from irt_analytics.deploy.releases import helm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGE = "localhost/irt-airflow:test"
FIRST = {
    "seedtest-database-url": "postgresql://analyst:first%2F%25@db.example:5432/answers?sslmode=require",
    "r-irt-plumber-token": 'first-"irt"-token',
    "r-glmm-internal-token": "first-glmm-token",
    "r-forecast-internal-token": "first-forecast-token",
    "r-brms-internal-token": "first-brms-token",
}
ROTATED = {
    **FIRST,
    "seedtest-database-url": "postgresql://analyst:second@db.example:5432/answers?sslmode=require",
    "r-brms-internal-token": "second-brms-token",
}
#: A worker's look-ups, once a second: what a task that starts now would get.
LOOK_UP = """
import configparser, importlib, json, time
kwargs = json.loads({kwargs!r})
while True:
    backend = importlib.import_module({module!r}).__dict__[{name!r}](**kwargs)
    found = {{name: backend.get_connection(name) for name in {names!r}}}
    print(json.dumps({{
        name: None if one is None else [one.conn_type, one.host, one.port, one.password, one.extra_dejson]
        for name, one in found.items()
    }}), flush=True)
    time.sleep(1)
"""
NAMES = ("seedtest_db", "r_irt", "r_glmm", "r_forecast", "r_brms", "report_store")


@pytest.fixture(scope="module")
def store(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], None]:
    """Install the credentials' release with a store that holds these values; called again, the store has changed."""
    need_charts()
    subprocess.run([CLUSTER, "external-secrets"], check=True, capture_output=True, text=True)
    values = tmp_path_factory.mktemp("store") / "values.yaml"

    def hold(secrets: dict[str, str]) -> None:
        provider = {"fake": {"data": [{"key": key, "value": value} for key, value in secrets.items()]}}
        mine = {
            "provider": provider,
            "refreshInterval": "2s",
            "reportStore": {"extra": {"url": "s3://reports/weekly"}},
        }
        values.write_text(yaml.safe_dump(mine))
        chart, files = CREDENTIALS.chart.arguments(), CREDENTIALS.arguments(ROOT)
        assert chart[0] in files
        arguments = [cluster.namespace if argument == CREDENTIALS.namespace else argument for argument in files]
        helm("upgrade", "--install", *arguments, "-f", str(values))

    return hold


def await_secret(namespace: str, name: str, accept: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    import base64

    api, give_up = client.CoreV1Api(), time.monotonic() + 90
    while True:
        for secret in api.list_namespaced_secret(namespace).items:
            if secret.metadata.name == name:
                values = {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items()}
                if accept(values):
                    return values
        assert time.monotonic() < give_up, f"{name} did not come to hold what the store has"
        time.sleep(0.5)


def test_each_service_has_its_secret_and_airflow_its_file(
    cluster: Cluster, store: Callable[[dict[str, str]], None]
) -> None:
    store(FIRST)
    calibrate = await_secret(cluster.namespace, "calibrate-irt-credentials", bool)
    assert calibrate == {"DATABASE_URL": FIRST["seedtest-database-url"], "token": FIRST["r-irt-plumber-token"]}
    for service in ("glmm", "forecast", "brms"):
        values = await_secret(cluster.namespace, f"r-{service}-credentials", bool)
        assert values == {"token": FIRST[f"r-{service}-internal-token"]}
    file = await_secret(cluster.namespace, "airflow-connections", bool)
    assert set(json.loads(file["connections.json"])) == set(NAMES)


def rendered(kind: str, name: str) -> Object:
    (found,) = [
        found
        for found in render("airflow-production-LocalExecutor")
        if (found["kind"], found["metadata"]["name"]) == (kind, name)
    ]
    return found


@pytest.fixture
def worker(cluster: Cluster, store: Callable[[dict[str, str]], None]) -> Iterator[str]:
    """A pod of Airflow's image that looks connections up as the values tell Airflow to; gives its name."""
    import configparser

    store(FIRST)
    await_secret(cluster.namespace, "airflow-connections", lambda values: "first-brms" in values["connections.json"])
    cluster.build(IMAGE, ROOT, str(ROOT / "plugins" / "Dockerfile"))
    config = configparser.RawConfigParser()
    config.read_string(rendered("ConfigMap", "airflow-config")["data"]["airflow.cfg"])
    module, _, name = config["workers"]["secrets_backend"].rpartition(".")
    program = LOOK_UP.format(kwargs=config["workers"]["secrets_backend_kwargs"], module=module, name=name, names=NAMES)
    scheduler = dict(pods_of([rendered("Deployment", "airflow-scheduler")]))["Deployment/airflow-scheduler"]["spec"]
    (main,) = [container for container in scheduler["containers"] if container["name"] == "scheduler"]
    mounts = [mount for mount in main["volumeMounts"] if mount["name"] in ("connections", "tmp")]
    pod: dict[str, Any] = {
        "metadata": {"name": "lookups"},
        "spec": {
            "containers": [
                {
                    "name": "lookups",
                    "image": IMAGE,
                    "args": ["python", "-c", program],
                    # AIRFLOW_HOME is read-only and this is no Airflow: its configuration goes where it may write
                    "env": [{"name": "AIRFLOW_HOME", "value": "/tmp"}],  # noqa: S108 - the pod's own
                    "volumeMounts": mounts,
                    "securityContext": main["securityContext"],
                }
            ],
            "volumes": [volume for volume in scheduler["volumes"] if volume["name"] in ("connections", "tmp")],
            "securityContext": scheduler["securityContext"],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        },
    }
    api = client.CoreV1Api()
    api.create_namespaced_pod(cluster.namespace, pod)
    yield "lookups"
    api.delete_namespaced_pod("lookups", cluster.namespace, grace_period_seconds=0)


def test_a_rotated_value_is_what_the_next_lookup_finds(
    cluster: Cluster, store: Callable[[dict[str, str]], None], worker: str
) -> None:
    """Nothing is restarted: the pod that looks up is the same before and after."""
    first = await_lookup(cluster, worker, lambda found: found["seedtest_db"] is not None)
    assert first["seedtest_db"] == ["postgres", "db.example", 5432, "first/%", {"sslmode": "require"}]
    host = f"plumber.{cluster.namespace}.svc.cluster.local"
    assert first["r_irt"] == ["http", f"r-irt-{host}", 8000, FIRST["r-irt-plumber-token"], {}]
    assert first["report_store"][4] == {"url": "s3://reports/weekly"}
    store(ROTATED)
    second = await_lookup(cluster, worker, lambda found: found["seedtest_db"][3] == "second")
    assert second["r_brms"][3] == "second-brms-token"
    assert second["r_glmm"] == first["r_glmm"]
    status = client.CoreV1Api().read_namespaced_pod(worker, cluster.namespace).status
    assert [container.restart_count for container in status.container_statuses] == [0]


def await_lookup(
    cluster: Cluster, pod: str, accept: Callable[[dict[str, Any]], bool], seconds: float = 240
) -> dict[str, Any]:
    """The newest look-up that is accepted; the kubelet brings a changed Secret to its files within two minutes."""
    api, give_up = client.CoreV1Api(), time.monotonic() + seconds
    lines: list[str] = []
    while time.monotonic() < give_up:
        status = api.read_namespaced_pod(pod, cluster.namespace).status
        if status.phase == "Running":
            text = api.read_namespaced_pod_log(
                pod, cluster.namespace, tail_lines=1, _preload_content=False
            ).data.decode()
            lines = [line for line in text.splitlines() if line.startswith("{")]
            if lines and accept(json.loads(lines[-1])):
                found: dict[str, Any] = json.loads(lines[-1])
                return found
        assert status.phase in ("Pending", "Running"), api.read_namespaced_pod_log(pod, cluster.namespace)
        time.sleep(1)
    pytest.fail(f"no look-up was accepted within {seconds} s; the last found {lines}")
