"""Images as a person builds and pushes them, with a real builder and a real registry."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.airflow_home import ROOT
from tests.k8s.conftest import Cluster

from irt_analytics.deploy.images import Builder, BuildError, Image, write_values
from irt_analytics.errors import ConfigurationError

pytestmark = pytest.mark.slow

TOOLS = ROOT / ".demo" / "registry"
BUILD_OPTIONS = ("--isolation", "chroot", "--network", "host", "--pull-never")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on this machine: Debian's docker-registry, unpacked and not installed; gives its address."""
    program = TOOLS / "usr" / "bin" / "docker-registry"
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        command = (
            "apt-get download -q docker-registry && dpkg-deb -x docker-registry_*.deb . && rm docker-registry_*.deb"
        )
        ended = subprocess.run(["sh", "-c", command], cwd=TOOLS, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"Debian's docker-registry cannot be had: {ended.stderr.strip()[-300:]}")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
    os.environ["CONTAINERS_REGISTRIES_CONF"] = str(folder / "registries.conf")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=subprocess.STDOUT)
    give_up = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"http://{address}/v2/", trust_env=False).raise_for_status()
            break
        except httpx.HTTPError:
            assert time.monotonic() < give_up, (folder / "log").read_text()
            time.sleep(0.2)
    yield address
    server.terminate()
    server.wait()
    del os.environ["CONTAINERS_REGISTRIES_CONF"]


@pytest.fixture
def builder(cluster: Cluster, shell_image: str, tmp_path: Path) -> Builder:  # noqa: ARG001 - makes the base image
    """A builder of a repository that holds one image's Dockerfile."""
    if not shutil.which("buildah"):
        pytest.skip("there is no buildah on this machine")
    os.environ["STORAGE_DRIVER"] = "overlay"
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nARG CODE_COMMIT\nUSER 65534\n")
    return Builder(tmp_path, "buildah", tag="3.1.0", options=BUILD_OPTIONS)


PROBE = Image("irt-postgres", "Dockerfile")


def test_a_pushed_image_is_named_by_the_digest_that_the_registry_serves(
    builder: Builder, registry: str, tmp_path: Path
) -> None:
    """A wrong digest would be an image that no node can pull."""
    mine = Builder(builder.root, builder.program, f"{registry}/irt", builder.tag, builder.options)
    pushed = mine.push(mine.build(PROBE))
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    answer = httpx.head(
        f"http://{registry}/v2/irt/irt-postgres/manifests/{pushed.digest}", headers=accept, trust_env=False
    )
    assert answer.status_code == 200
    assert answer.headers["Docker-Content-Digest"] == pushed.digest
    write_values([pushed], tmp_path)
    assert pushed.digest in (tmp_path / "postgres.yaml").read_text()
    assert pushed.reference == f"{registry}/irt/irt-postgres:3.1.0@{pushed.digest}"


def test_an_image_tells_its_version(builder: Builder) -> None:
    """Who finds a pod that misbehaves must find its source."""
    built = builder.build(PROBE)
    shown = subprocess.run(["buildah", "inspect", built.reference], capture_output=True, text=True, check=True).stdout
    assert '"org.opencontainers.image.version": "3.1.0"' in shown
    assert '"org.opencontainers.image.revision": "unknown"' in shown, "the folder is no checkout"


def test_a_dockerfile_that_is_not_there_is_named(builder: Builder) -> None:
    with pytest.raises(ConfigurationError, match="there is no missing/Dockerfile"):
        builder.build(Image("irt-postgres", "missing/Dockerfile"))


def test_a_build_that_fails_is_an_error(builder: Builder) -> None:
    (builder.root / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN exit 3\n")
    with pytest.raises(BuildError, match="exit code"):
        builder.build(PROBE)
