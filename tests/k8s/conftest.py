"""A real cluster for pods, what they reach from it, and the product installed in it."""

import os
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from tests.airflow_home import ROOT, use_airflow_home
from tests.charts import need_charts

from irt_analytics.deploy.cluster import random_token
from irt_analytics.deploy.images import AIRFLOW, JOBS, R_SERVICES, TRIAL, Builder
from irt_analytics.deploy.releases import JOBS_NAMESPACE
from irt_analytics.deploy.run import TENANT, Run, load, run_day
from irt_analytics.deploy.trial import Trial, uninstall

CLUSTER = ROOT.parent / "shared" / "cluster" / "cluster"
#: What holds R mirt for the images of R services; without it they ask CRAN.
R_REPOSITORY = ROOT.parent / "shared" / "r"
#: The cluster's base image is made by this machine, and no registry is reached.
BUILD_OPTIONS = ("--isolation", "chroot", "--network", "host", "--pull-never")

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


#: The day that the installation computes.
DAY = date(2026, 1, 31)
#: Long enough a past for a forecast, and items enough that learners still meet new ones at its end.
COHORT = ("simulate", "--as-of", str(DAY), "--learners", "200", "--items", "240", "--topics", "6", "--weeks", "26")
CONF = {"learner_pages": "none"}


@pytest.fixture(scope="session")
def planted() -> Iterator[str]:
    """A secret that lies about where images are built: in the checkout's state."""
    value = random_token()
    state = ROOT / ".demo"
    known = state.exists()
    state.mkdir(exist_ok=True)
    (state / "planted").write_text(value)
    yield value
    (state / "planted").unlink()
    if not known:
        state.rmdir()


@pytest.fixture(scope="session")
def trial(cluster: Cluster, shell_image: str, planted: str) -> Iterator[Trial]:  # noqa: ARG001 - what images are built with
    """The whole product in the local cluster, R services too, from images of this checkout; removed afterwards."""
    need_charts()
    os.environ["STORAGE_DRIVER"] = "overlay"
    builder = Builder(ROOT, "buildah", options=BUILD_OPTIONS)
    repository = ("--volume", f"{R_REPOSITORY}:/opt/r-repo:ro", "--build-arg", "R_REPOS=file:///opt/r-repo")
    of_r = replace(builder, options=BUILD_OPTIONS + (repository if R_REPOSITORY.exists() else ()))
    wanted = [(of_r, image) for image in R_SERVICES.values()]
    wanted += [(builder, image) for image in (AIRFLOW, JOBS, *TRIAL)]
    # they wait for packages more than they compute
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(max_workers=3) as pool:
        for name in ("DATABASE_URL", "R_IRT_TOKEN", "AIRFLOW_CONN_SEEDTEST_DB"):
            patch.setenv(name, f"postgresql://irt:{planted}@localhost/irt")
        for built in pool.map(lambda one: one[0].build(one[1]), wanted):
            load_image(built.reference)
    found = Trial(ROOT)
    uninstall()
    found.install(print)
    yield found
    uninstall()


def load_image(reference: str) -> None:
    loaded = subprocess.run([CLUSTER, "load", reference], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


class Witness:
    """Every pod and Secret that a namespace ever held, and every command that ever ran on the node, while it looks."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client

        self.pods: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.commands: set[str] = set()
        self._ended = threading.Event()
        api = client.CoreV1Api()
        self._followers = [
            threading.Thread(target=self._follow, args=(self.pods, api.list_namespaced_pod, namespace), daemon=True),
            threading.Thread(
                target=self._follow, args=(self.secrets, api.list_namespaced_secret, namespace), daemon=True
            ),
            threading.Thread(target=self._look_at_commands, daemon=True),
        ]
        for follower in self._followers:
            follower.start()

    def _follow(self, found: dict[str, dict[str, Any]], call: Any, namespace: str) -> None:
        from kubernetes import watch

        changes = watch.Watch()
        while not self._ended.is_set():
            for event in changes.stream(call, namespace, timeout_seconds=3):
                found[event["object"].metadata.name] = event["raw_object"]

    def _look_at_commands(self) -> None:
        while not self._ended.wait(0.5):
            for process in psutil.process_iter(["cmdline"]):
                self.commands.add(" ".join(process.info["cmdline"] or ()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def job_pods(self) -> list[dict[str, Any]]:
        """The pods that were jobs of the Dag; the clean-up's were there, too."""
        return [pod for pod in self.pods.values() if "task_id" in pod["metadata"]["labels"]]

    def end(self) -> None:
        """Take what has happened so far, and look no further."""
        self._ended.set()
        for follower in self._followers:
            follower.join()


@pytest.fixture(scope="session")
def witness(trial: Trial) -> Iterator[Witness]:  # noqa: ARG001
    """What was to be seen of the day while it ran."""
    with Witness(JOBS_NAMESPACE) as found:
        yield found


@pytest.fixture(scope="session")
def day(trial: Trial, witness: Witness) -> Run:  # noqa: ARG001
    """A simulated cohort's day, triggered through Airflow's REST API."""
    assert load((*COHORT, "--tenant", TENANT), print) == DAY
    found = run_day(DAY, CONF, print)
    witness.end()
    return found
