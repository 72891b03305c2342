"""Every rendered value, asked of a real API server: a field that it does not know, a pod that `restricted` refuses."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config
from tests.airflow_home import ROOT
from tests.charts import CHARTS, RELEASES, Object, pods_of, render

from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.deploy.trial import uninstall

NAMESPACES = ROOT / "helm-values" / "namespaces.yaml"
pytestmark = pytest.mark.slow


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def namespaces(running_cluster: None) -> Iterator[None]:  # noqa: ARG001
    """The product's namespaces and the operators' kinds; those that were not there go afterwards."""
    if not CHARTS.exists():
        pytest.skip(f"there is no {CHARTS} with charts and definitions")
    config.load_kube_config()
    uninstall()  # what other tests installed: what it has already could not become what is asked here
    api = client.CoreV1Api()
    known = {found.metadata.name for found in api.list_namespace().items}
    for file in (CHARTS / "crds", NAMESPACES):
        applied = kubectl("apply", "--server-side", "-f", str(file))
        assert applied.returncode == 0, applied.stderr
    kinds = ("externalsecrets.external-secrets.io", "prometheusrules.monitoring.coreos.com")
    for kind in kinds:
        waited = kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=60s")
        assert waited.returncode == 0, waited.stderr
    yield
    for name in {AIRFLOW_NAMESPACE, JOBS_NAMESPACE} - known:
        api.delete_namespace(name)


def dry_run(objects: list[Object]) -> str:
    """What the API server has against the objects; nothing is kept."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    command = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
    return kubectl(*command, stdin=text).stderr


@pytest.mark.parametrize("name", RELEASES)
def test_the_api_server_takes_every_object(name: str) -> None:
    assert dry_run(render(name)) == ""


def bare_pods(objects: list[Object]) -> list[Object]:
    """The pods of the workloads, as their controllers would make them."""
    found = []
    for index, (workload, pod) in enumerate(pods_of(objects)):
        namespace = next(item["metadata"]["namespace"] for item in objects if workload.startswith(f"{item['kind']}/"))
        # the account may not exist yet, and what it may do is no matter of pod security
        spec: dict[str, Any] = {**pod["spec"], "serviceAccountName": "default"}
        spec.setdefault("restartPolicy", "Always")
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"asked-{index}", "namespace": namespace},
                "spec": spec,
            }
        )
    return found


@pytest.mark.parametrize("name", sorted(RELEASES.keys() - {"irt-credentials", "irt-monitoring"}))  # which have no pods
def test_every_pod_is_admitted_under_restricted(name: str) -> None:
    """A Deployment is taken whatever its pods are; they would then never start."""
    pods = bare_pods(render(name))
    assert pods
    assert dry_run(pods) == ""


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("irt-postgres", "deployment.readinessProbe.exec.comand=x", "field not declared in schema|unknown field"),
        (
            "r-glmm-plumber-production-LocalExecutor",
            "deployment.securityContext.runAsUsr=1",
            "unknown field|not declared",
        ),
        ("airflow-production-LocalExecutor", "scheduler.resources.requests.cpu=lots", "quantit"),
    ],
)
def test_a_value_that_is_no_field_is_caught(name: str, setting: str, said: str) -> None:
    answer = dry_run(render(name, setting))
    assert re.search(said, answer), answer


@pytest.mark.parametrize(
    "setting",
    [
        "deployment.containerSecurityContext.allowPrivilegeEscalation=true",
        "deployment.securityContext.runAsUser=0",
        "deployment.securityContext.seccompProfile=null",
    ],
)
def test_a_pod_that_restricted_refuses_is_caught(setting: str) -> None:
    answer = dry_run(bare_pods(render("r-glmm-plumber-production-LocalExecutor", setting)))
    assert 'violates PodSecurity "restricted' in answer
