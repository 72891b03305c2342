"""The images of the product: built by the machine's builder, tagged by version, and named in the Helm values."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from irt_analytics import __version__
from irt_analytics.errors import ConfigurationError, PipelineError

BUILDERS = ("buildah", "podman", "docker")
LOCAL_REGISTRY = "localhost"


class BuildError(PipelineError):
    """A builder failed; its own words are above the message."""

    exit_code = 1


@dataclass(frozen=True)
class Image:
    """An image of the product.

    Attributes:
        name: what it is called in a registry.
        dockerfile: from the repository's root, which is the build's context.
        go_module: a program that the context is made of instead: `module@version`, built by the machine's own Go.
    """

    name: str
    dockerfile: str
    go_module: str = ""


JOBS = Image("irt-jobs", "include/irt_analytics/Dockerfile")
AIRFLOW = Image("irt-airflow", "plugins/Dockerfile")
DATABASE_EXPORTER = Image("irt-database-exporter", "tools/images/database-exporter/Dockerfile")
R_SERVICES = {
    service: Image(f"r-{service}-plumber", f"include/r_services/{service}/Dockerfile")
    for service in ("irt", "glmm", "forecast", "brms")
}
PRODUCT = (JOBS, AIRFLOW, *R_SERVICES.values(), DATABASE_EXPORTER)
#: What a trial runs beside the product where production has a cloud's.
POSTGRES = Image("irt-postgres", "tools/images/postgres/Dockerfile")
STATSD_EXPORTER = Image(
    "irt-statsd-exporter",
    "tools/images/statsd-exporter/Dockerfile",
    go_module="github.com/prometheus/statsd_exporter@v0.31.0",
)
S3 = Image("irt-s3", "tools/images/s3/Dockerfile", go_module="github.com/versity/versitygw/cmd/versitygw@v1.8.0")
TRIAL = (POSTGRES, STATSD_EXPORTER, S3)


@dataclass(frozen=True)
class Built:
    """An image that was built.

    Attributes:
        image: which.
        registry: the registry and folder it is tagged for.
        tag: its version.
        digest: `sha256:...` as the registry knows it; empty where it was not pushed, for only a registry gives one.
    """

    image: Image
    registry: str
    tag: str
    digest: str = ""

    @property
    def repository(self) -> str:
        """Where it lies."""
        return f"{self.registry}/{self.image.name}"

    @property
    def reference(self) -> str:
        """What a pod asks for."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")

    def values(self) -> dict[str, str]:
        """What the charts want to know of it."""
        found = {"repository": self.repository, "tag": self.tag}
        return found | ({"digest": self.digest} if self.digest else {})


def select(names: Iterable[str]) -> tuple[Image, ...]:
    """Return the images of these names; without names the product's.

    Raises:
        ConfigurationError: there is no image of a name.
    """
    known = {image.name: image for image in (*PRODUCT, *TRIAL)}
    wanted = list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigurationError(f"ONLY={' '.join(unknown)}: expected names of {', '.join(known)}")
    return tuple(known[name] for name in wanted) or PRODUCT


def find_builder() -> str:
    """Return the first builder that this machine has.

    Raises:
        ConfigurationError: there is none.
    """
    found = next((name for name in BUILDERS if shutil.which(name)), None)
    if found is None:
        raise ConfigurationError(f"there is no {', no '.join(BUILDERS)} on this machine's PATH: install one of them")
    return found


@dataclass(frozen=True)
class Builder:
    """Builds and pushes with one of `BUILDERS`.

    Attributes:
        root: the repository.
        program: the builder.
        registry: registry and folder, such as europe-docker.pkg.dev/project/irt.
        tag: the version that tags every image.
        options: further arguments of the builder's own, such as a proxy or the isolation.
    """

    root: Path
    program: str
    registry: str = LOCAL_REGISTRY
    tag: str = __version__
    options: Sequence[str] = ()

    def build(self, image: Image) -> Built:
        """Build one image.

        Raises:
            ConfigurationError: its Dockerfile is not there, or Go is needed and missing.
            BuildError: the builder failed.
        """
        dockerfile = self.root / image.dockerfile
        if not dockerfile.is_file():
            raise ConfigurationError(f"{image.name}: there is no {image.dockerfile} in {self.root}")
        built = Built(image, self.registry, self.tag)
        if not image.go_module:
            self._build(built, dockerfile, self.root)
            return built
        with tempfile.TemporaryDirectory(prefix="irt-image-") as folder:
            _build_go(image.go_module, Path(folder))
            self._build(built, dockerfile, Path(folder))
        return built

    def _build(self, built: Built, dockerfile: Path, context: Path) -> None:
        commit = self._commit()
        labels = {
            "org.opencontainers.image.title": built.image.name,
            "org.opencontainers.image.version": built.tag,
            "org.opencontainers.image.revision": commit,
            "org.opencontainers.image.licenses": "Apache-2.0",
        }
        layers = ["--layers"] if self.program != "docker" else []
        subcommand = ["bud"] if self.program == "buildah" else ["build"]
        arguments = [f"--label={name}={value}" for name, value in labels.items()]
        if "ARG CODE_COMMIT" in dockerfile.read_text(encoding="utf-8"):
            arguments.append(f"--build-arg=CODE_COMMIT={commit}")
        tag = f"{built.repository}:{built.tag}"
        self._run(*subcommand, *layers, *self.options, *arguments, "-t", tag, "-f", str(dockerfile), str(context))

    def push(self, built: Built) -> Built:
        """Push an image and return it with the digest that the registry gave.

        Raises:
            BuildError: the builder failed.
        """
        tag = f"{built.repository}:{built.tag}"
        if self.program == "docker":
            self._run("push", tag)
            shown = self._run("image", "inspect", "--format", "{{json .RepoDigests}}", tag)
            return Built(built.image, built.registry, built.tag, find_digest(json.loads(shown), built.repository))
        with tempfile.TemporaryDirectory(prefix="irt-image-") as folder:
            digest = Path(folder) / "digest"
            self._run("push", "--digestfile", str(digest), tag)
            return Built(built.image, built.registry, built.tag, digest.read_text(encoding="utf-8").strip())

    def _run(self, *arguments: str) -> str:
        # What a builder says on its way goes to the terminal; what it answers is returned.
        answers = "inspect" in arguments
        ended = subprocess.run(
            [self.program, *arguments], stdout=subprocess.PIPE if answers else None, text=True, check=False
        )
        if ended.returncode:
            raise BuildError(f"{self.program} {' '.join(arguments)}: exit code {ended.returncode}")
        return ended.stdout or ""

    def _commit(self) -> str:
        """The checkout's commit, marked where the tree differs from it."""
        described = subprocess.run(
            ["git", "-C", str(self.root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
        return described.stdout.strip() if described.returncode == 0 else "unknown"


def find_digest(digests: Iterable[str], repository: str) -> str:
    """Return the digest that a registry gave an image, of the `repository@digest` that docker lists.

    Raises:
        BuildError: docker knows of none in this repository.
    """
    # Docker leaves Docker Hub's host, and its folder `library`, out of the names that it lists.
    short = re.sub(r"^((index\.)?docker\.io/)?(library/)?", "", repository)
    found = dict(entry.split("@", 1) for entry in digests)
    digest = found.get(repository) or found.get(short)
    if digest is None:
        raise BuildError(f"docker knows no digest of {repository} after the push, only {', '.join(found) or 'none'}")
    return digest


def _build_go(module: str, folder: Path) -> None:
    if shutil.which("go") is None:
        raise ConfigurationError(f"{module} is built by Go, which is not on this machine's PATH")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    ended = subprocess.run(["go", "install", "-trimpath", "-ldflags=-s -w", module], env=environment, check=False)
    if ended.returncode:
        raise BuildError(f"go install {module}: exit code {ended.returncode}")


def write_values(built: Iterable[Built], folder: Path) -> list[Path]:
    """Name images in the values files of `folder` and return the files that were written.

    Each file belongs after its chart: `-f helm-values/jobs.yaml -f helm-values/images/jobs.yaml`. What it says of
    images that were not built stays.
    """
    written: dict[Path, None] = {}
    for one in built:
        for name, values in _values_of(one).items():
            path = folder / f"{name}.yaml"
            known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
            text = yaml.safe_dump(_merge(known or {}, values), sort_keys=False)
            path.write_text(f"# Written by `make images`.\n{text}", encoding="utf-8")
            written[path] = None
    return list(written)


def _values_of(built: Built) -> dict[str, dict[str, object]]:
    """The files that name an image, and how."""
    services = {image.name: f"r-{service}" for service, image in R_SERVICES.items()}
    deployment: dict[str, object] = {"deployment": {"image": built.values()}}
    match built.image.name:
        case JOBS.name:
            return {"airflow": {"jobs": {"image": built.reference}}}
        case AIRFLOW.name:
            return {
                # for Airflow's own pods and, by the KubernetesExecutor, its workers'
                "airflow": {
                    "defaultAirflowRepository": built.repository,
                    "defaultAirflowTag": built.tag,
                    "defaultAirflowDigest": built.digest or None,
                },
                "jobs": {"cronJob": {"jobs": {"cleanup": {"image": built.values()}}}},
            }
        case STATSD_EXPORTER.name:
            return {"statsd-exporter": {"images": {"statsd": {"repository": built.repository, "tag": built.tag}}}}
        case name:
            return {services.get(name, name.removeprefix("irt-")): deployment}


def _merge(known: dict[str, object], new: dict[str, object]) -> dict[str, object]:
    """Return `known` with `new` in it; an image's description is replaced whole, so that no old digest stays."""
    merged = dict(known)
    for key, value in new.items():
        old = merged.get(key)
        whole = not (isinstance(old, dict) and isinstance(value, dict)) or "repository" in value
        merged[key] = value if whole else _merge(old, value)  # type: ignore[arg-type]
    return merged
