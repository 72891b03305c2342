"""What the Helm values render to, without a cluster: a mistake here would show on somebody's production."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.airflow_home import ROOT
from tests.charts import RELEASES, Object, pods_of, render

from irt_analytics.deploy.images import AIRFLOW, JOBS, R_SERVICES, BuildError, Built, find_digest, write_values
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE, SERVICES, HelmError, product
from irt_analytics.errors import ConfigurationError

PINNED = re.compile(r":(?!latest$)[A-Za-z0-9_][\w.-]*$|@sha256:[0-9a-f]{64}$")
AIRFLOW_RELEASES = [name for name in RELEASES if name.startswith("airflow-")]
R_RELEASES = [name for name in RELEASES if name.startswith("r-")]


def only(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [found for found in objects if (found["kind"], found["metadata"]["name"]) == (kind, name)]
    return found


def containers(pod: Object) -> list[Object]:
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


@pytest.mark.parametrize("name", RELEASES)
def test_every_pod_runs_a_pinned_image_with_limits_and_a_read_only_root(name: str) -> None:
    """A pod without a limit takes its node down; one with `latest` changes under a retry."""
    for workload, pod in pods_of(render(name)):
        for container in containers(pod):
            where = f"{workload} {container['name']}"
            assert PINNED.search(container["image"]), where
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, where
            if container["name"] != "wait-for-airflow-migrations":  # the chart has no value for it
                assert container["resources"]["limits"]["memory"], where
                assert container["resources"]["requests"], where


@pytest.mark.parametrize("name", RELEASES)
def test_no_secret_value_stands_in_a_rendered_object(name: str) -> None:
    """Whoever may read a Deployment would read the password."""
    for found in render(name):
        assert found["kind"] != "Secret" or not found.get("data"), found["metadata"]["name"]
    for workload, pod in pods_of(render(name)):
        for container in containers(pod):
            for variable in container.get("env") or []:
                if re.search(r"PASSWORD|TOKEN|SECRET|_KEY$|CONN|DATA_SOURCE", variable["name"]):
                    assert "secretKeyRef" in variable.get("valueFrom", {}), f"{workload} {variable['name']}"


@pytest.mark.parametrize("name", AIRFLOW_RELEASES)
def test_only_what_starts_pods_has_a_service_account_token(name: str) -> None:
    """A token in the API server's pod would let a person of the web UI's host start pods."""
    allowed = {"airflow-scheduler", "airflow-worker", "airflow-cleanup"}
    accounts = {
        found["metadata"]["name"]: found.get("automountServiceAccountToken", True)
        for found in render(name)
        if found["kind"] == "ServiceAccount"
    }
    assert {account for account, mounted in accounts.items() if mounted} <= allowed


@pytest.mark.parametrize("name", AIRFLOW_RELEASES)
def test_the_chart_grants_nothing_but_its_clean_up(name: str) -> None:
    """The chart's own launcher may run commands in pods."""
    roles = {found["metadata"]["name"] for found in render(name) if found["kind"] in ("Role", "ClusterRole")}
    assert roles <= {"airflow-cleanup-role"}


def rules(objects: list[Object], name: str) -> dict[str, set[str]]:
    return {
        resource: set(rule["verbs"]) for rule in only(objects, "Role", name)["rules"] for resource in rule["resources"]
    }


def test_what_starts_jobs_may_do_that_and_no_more() -> None:
    """It cannot read a Secret: the credentials of a job that runs beside it stay the job's."""
    found = rules(render("irt-jobs-production-LocalExecutor"), "irt-jobs-launcher")
    assert found == {
        "pods": {"create", "get", "list", "delete"},
        "pods/log": {"get"},
        "events": {"list"},
        "secrets": {"create"},
    }


@pytest.mark.parametrize(
    ("executor", "account"), [("LocalExecutor", "airflow-scheduler"), ("KubernetesExecutor", "airflow-worker")]
)
def test_the_role_belongs_to_whoever_runs_the_tasks(executor: str, account: str) -> None:
    objects = render(f"irt-jobs-production-{executor}")
    (subject,) = only(objects, "RoleBinding", "irt-jobs-launcher")["subjects"]
    assert (subject["name"], subject["namespace"]) == (account, AIRFLOW_NAMESPACE)
    accounts = {
        found["metadata"]["name"]
        for found in render(f"airflow-production-{executor}")
        if found["kind"] == "ServiceAccount"
    }
    assert account in accounts


@pytest.mark.parametrize("executor", ["LocalExecutor", "KubernetesExecutor"])
def test_connections_are_mounted_as_a_directory_where_tasks_run(executor: str) -> None:
    """By subPath a rotated password would reach Airflow only with its next restart."""
    pods = dict(pods_of(render(f"airflow-production-{executor}")))
    pod = pods["Deployment/airflow-scheduler" if executor == "LocalExecutor" else "ConfigMap/airflow-config"]
    (main,) = [container for container in pod["spec"]["containers"] if container["name"] in ("scheduler", "base")]
    (mount,) = [mount for mount in main["volumeMounts"] if mount["name"] == "connections"]
    assert "subPath" not in mount
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "connections"]
    assert volume["secret"]["secretName"] == "airflow-connections"
    text = only(render(f"airflow-production-{executor}"), "ConfigMap", "airflow-config")["data"]["airflow.cfg"]
    assert f"{mount['mountPath']}/connections.json" in text
    others = [workload for workload, other in pods.items() if other is not pod and "connections" in json.dumps(other)]
    assert others == []


@pytest.mark.parametrize("name", AIRFLOW_RELEASES)
def test_a_scheduler_is_no_stateful_set(name: str) -> None:
    """The chart's default would ask the cluster for a volume of 100 GiB."""
    assert not [found for found in render(name) if found["kind"] in ("StatefulSet", "PersistentVolumeClaim")]


@pytest.mark.parametrize("name", [name for name in AIRFLOW_RELEASES if "production" in name])
def test_the_database_proxy_ends_with_its_pod(name: str) -> None:
    """Beside the main container it would keep a finished migration, or worker, alive for ever."""
    for workload, pod in pods_of(render(name)):
        proxies = [container for container in containers(pod) if container["name"] == "cloud-sql-proxy"]
        assert not [proxy for proxy in pod["spec"]["containers"] if proxy["name"] == "cloud-sql-proxy"], workload
        assert all(proxy["restartPolicy"] == "Always" for proxy in proxies), workload
        connects = any(
            variable["name"] == "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
            for container in pod["spec"]["containers"]
            for variable in container.get("env") or []
        )
        finds_it = len(proxies) == 1 or workload in ("CronJob/airflow-cleanup", "ConfigMap/airflow-config")
        assert finds_it or not connects, workload


@pytest.mark.parametrize("name", R_RELEASES)
def test_an_r_service_takes_its_token_from_its_own_secret_and_answers_its_probes(name: str) -> None:
    ((_, pod),) = pods_of(render(name))
    (container,) = pod["spec"]["containers"]
    variables = {variable["name"]: variable for variable in container["env"]}
    service = name.split("-")[1]
    secret = "calibrate-irt-credentials" if service == "irt" else f"r-{service}-credentials"
    assert variables["R_SERVICE_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": secret, "key": "token"}
    assert variables["HOST"]["value"] == "0.0.0.0"  # noqa: S104 - inside a pod
    assert [port["containerPort"] for port in container["ports"]] == [int(variables["PORT"]["value"])]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")} == {"/ready"}
    assert int(variables["DRAIN_SECONDS"]["value"]) < pod["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", R_RELEASES)
def test_the_jobs_of_an_r_service_fit_into_its_memory(name: str) -> None:
    """Else the kernel ends the service with every fit in it, in place of the one fit that is too large."""
    ((_, pod),) = pods_of(render(name))
    (container,) = pod["spec"]["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024
    assert int(str(variables["WORKERS"])) * int(str(variables["JOB_MEMORY_MB"])) + 512 <= limit


@pytest.mark.parametrize("name", R_RELEASES)
def test_an_r_service_admits_pods_of_jobs_and_prometheus(name: str) -> None:
    policy = only(render(name), "NetworkPolicy", "-".join(name.split("-")[:3]))
    (ingress,) = policy["spec"]["ingress"]
    admitted = [
        (
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
        )
        for peer in ingress["from"]
    ]
    # the labels that PipelinePodOperator gives its pods
    assert admitted == [(JOBS_NAMESPACE, "irt-analytics"), ("monitoring", "prometheus")]
    assert policy["spec"]["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize("name", R_RELEASES)
def test_whoever_started_a_fit_reaches_the_replica_that_has_it(name: str) -> None:
    objects = render(name)
    service = only(objects, "Service", "-".join(name.split("-")[:3]))
    assert service["spec"]["sessionAffinity"] == "ClientIP"
    ((_, pod),) = pods_of(objects)
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_the_cluster_s_namespaces_enforce_restricted() -> None:
    namespaces = list(yaml.safe_load_all((ROOT / "helm-values" / "namespaces.yaml").read_text()))
    enforced = {
        found["metadata"]["name"]: found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for found in namespaces
    }
    assert enforced == {AIRFLOW_NAMESPACE: "restricted", JOBS_NAMESPACE: "restricted"}


def test_the_external_secrets_have_the_names_and_ids_that_the_docs_list() -> None:
    found = {
        secret["metadata"]["name"]: {item["secretKey"]: item["remoteRef"]["key"] for item in secret["spec"]["data"]}
        for secret in render("irt-credentials")
        if secret["kind"] == "ExternalSecret"
    }
    connections = found.pop("airflow-connections")
    assert found == {
        "calibrate-irt-credentials": {"DATABASE_URL": "seedtest-database-url", "token": "r-irt-plumber-token"},
        "r-glmm-credentials": {"token": "r-glmm-internal-token"},
        "r-forecast-credentials": {"token": "r-forecast-internal-token"},
        "r-brms-credentials": {"token": "r-brms-internal-token"},
    }
    assert set(connections.values()) == {remote for keys in found.values() for remote in keys.values()}


def test_a_webhook_for_failed_runs_comes_from_the_store_where_it_is_named() -> None:
    """Its address lets anybody write to the channel: it must not stand in values."""
    objects = render("irt-credentials", "remote.notifications=irt-notifications")
    spec = only(objects, "ExternalSecret", "airflow-connections")["spec"]
    assert {"secretKey": "notifications", "remoteRef": {"key": "irt-notifications"}} in spec["data"]
    file = spec["target"]["template"]["data"]["connections.json"]
    # as the controller fills it in: its templates are Go's
    filled = re.sub(r"\{\{ \.(\w+)( \| toJson)? \}\}", lambda found: json.dumps({"of": found[1]}), file)
    assert json.loads(filled)["irt_notifications"] == {"of": "notifications"}


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("irt-credentials", "gcp.project=", "gcp.project: expected the project"),
        ("irt-credentials", "reportStore.extra.url=", "reportStore.extra.url: expected the folder"),
        ("airflow-production-LocalExecutor", "scheduler.replicas=several", "replicas"),
        ("airflow-production-LocalExecutor", "jobs=null", "jobs.image: give images/airflow.yaml too"),
        ("r-glmm-plumber-production-LocalExecutor", "deployment.image.repository=", "Undefined image"),
    ],
)
def test_a_wrong_value_is_refused(name: str, setting: str, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        render(name, setting)


def test_airflow_is_the_version_that_everything_is_tested_with() -> None:
    pins, image = (
        dict(line.split("==") for line in path.read_text().splitlines() if line.startswith("apache-airflow"))
        for path in (ROOT / "requirements.txt", ROOT / "plugins" / "requirements.txt")
    )
    assert pins.items() <= image.items()
    values = yaml.safe_load((ROOT / "helm-values" / "airflow.yaml").read_text())
    assert values["airflowVersion"] == pins["apache-airflow"]


def test_images_are_named_in_the_values_by_digest_once_they_are_pushed(tmp_path: Path) -> None:
    """By tag alone a pod could start another image than the one that was tested."""
    digest = f"sha256:{'a' * 64}"
    registry = "registry.example/irt"
    built = [Built(image, registry, "3.1.0", digest) for image in (JOBS, AIRFLOW, R_SERVICES["glmm"])]
    write_values(built, tmp_path)
    airflow = read(tmp_path / "airflow.yaml")
    assert airflow["jobs"]["image"] == f"{registry}/irt-jobs:3.1.0@{digest}"
    assert airflow["defaultAirflowRepository"] == f"{registry}/irt-airflow"
    assert (airflow["defaultAirflowTag"], airflow["defaultAirflowDigest"]) == ("3.1.0", digest)
    assert read(tmp_path / "jobs.yaml")["cronJob"]["jobs"]["cleanup"]["image"]["digest"] == digest
    assert read(tmp_path / "r-glmm.yaml")["deployment"]["image"]["digest"] == digest
    write_values([Built(AIRFLOW, registry, "3.2.0")], tmp_path)
    again = read(tmp_path / "airflow.yaml")
    assert (again["defaultAirflowTag"], again["defaultAirflowDigest"]) == ("3.2.0", None), "an old digest wins"
    assert again["jobs"]["image"] == f"{registry}/irt-jobs:3.1.0@{digest}"


@pytest.mark.parametrize(
    ("repository", "listed"),
    [
        ("docker.io/school/irt-jobs", "school/irt-jobs"),
        ("index.docker.io/school/irt-jobs", "school/irt-jobs"),
        ("docker.io/library/irt-jobs", "irt-jobs"),
        ("registry.example:5000/irt/irt-jobs", "registry.example:5000/irt/irt-jobs"),
    ],
)
def test_docker_lists_the_digest_of_a_pushed_image_under_a_name_of_its_own(repository: str, listed: str) -> None:
    """`make images PUSH=1` with docker would end in a traceback once everything is built and pushed."""
    digest = f"sha256:{'a' * 64}"
    assert find_digest([f"elsewhere.example/irt-jobs@sha256:{'b' * 64}", f"{listed}@{digest}"], repository) == digest
    with pytest.raises(BuildError, match="docker knows no digest"):
        find_digest([f"elsewhere.example/irt-jobs@{digest}"], repository)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"overlay": "staging"}, "overlay 'staging'"),
        ({"overlay": "trial", "executor": "Celery"}, "EXECUTOR 'Celery'"),
        ({"overlay": "trial", "services": ["glm"]}, "SERVICES=glm"),
    ],
)
def test_a_wrong_choice_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        product(root=ROOT, **arguments)


def test_every_r_service_has_a_release() -> None:
    assert set(SERVICES) == set(R_SERVICES)
