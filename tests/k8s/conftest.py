"""A real cluster for pods, and what they reach from it: PostgreSQL, S3, images."""

import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.airflow_home import ROOT, use_airflow_home

CLUSTER = ROOT.parent / "shared" / "cluster" / "cluster"

use_airflow_home()
if CLUSTER.exists():
    # The client reads it while it is imported.
    line = subprocess.run([CLUSTER, "env"], check=True, capture_output=True, text=True).stdout
    settings = dict(word.split("=", 1) for word in line.split() if "=" in word)
    os.environ["KUBECONFIG"] = settings["KUBECONFIG"]
    os.environ["PATH"] = settings["PATH"].replace("$PATH", os.environ["PATH"])  # kubectl


@dataclass(frozen=True)
class Cluster:
    """A cluster whose pods reach this machine at `host`, and a namespace of it under the restricted standard."""

    host: str
    namespace: str
    build: Callable[[str, Path, str], None]


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[None]:
    """Start the local cluster unless one runs; stop it where it was started here."""
    if not CLUSTER.exists() or os.geteuid() != 0:
        pytest.skip(f"pods need a cluster of this machine: {CLUSTER} and root to start one")
    started = not is_up()
    if started:
        subprocess.run([CLUSTER, "up"], check=True, capture_output=True, text=True)
    yield
    if started:
        subprocess.run([CLUSTER, "down"], check=True, capture_output=True, text=True)


def is_up() -> bool:
    """Whether the cluster answers, however busy the machine is."""
    calls = (subprocess.run([CLUSTER, "status"], capture_output=True, check=False) for _ in range(3))
    return any(call.returncode == 0 for call in calls)


@pytest.fixture(scope="session")
def cluster(running_cluster: None) -> Iterator[Cluster]:  # noqa: ARG001
    from kubernetes import client, config

    config.load_kube_config()
    api = client.CoreV1Api()
    name = f"irt-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=labels)))
    (node,) = api.list_node().items
    host = next(address.address for address in node.status.addresses if address.type == "InternalIP")
    yield Cluster(host, name, build_image)
    api.delete_namespace(name)


def build_image(tag: str, context: Path, dockerfile: str) -> None:
    built = subprocess.run(
        [CLUSTER, "build", tag, str(context), "-f", dockerfile], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-3000:]


@pytest.fixture(scope="session")
def shell_image(cluster: Cluster) -> str:
    """An image with a shell and nothing else."""
    tag = "localhost/irt-shell:1"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text("FROM debian:bookworm-slim\n")
        cluster.build(tag, Path(folder), f"{folder}/Dockerfile")
    return tag
