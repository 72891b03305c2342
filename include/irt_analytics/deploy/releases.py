"""What is installed: each release's chart, namespace and values files, in the order that `helm` reads them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from irt_analytics.errors import ConfigurationError, PipelineError

AIRFLOW_NAMESPACE = "seedtest"
JOBS_NAMESPACE = "seedtest-jobs"
SERVICES = ("irt", "glmm", "forecast", "brms")
OVERLAYS = ("trial", "production")
EXECUTORS = ("LocalExecutor", "KubernetesExecutor")


class HelmError(PipelineError):
    """Helm refused; the message ends with its own words."""

    exit_code = 1


@dataclass(frozen=True)
class Chart:
    """A published chart at the version that the values are written for."""

    name: str
    version: str
    repository: str

    def arguments(self) -> list[str]:
        """How `helm` finds it: in the folder that IRT_CHARTS names, else in its own repository."""
        folder = os.environ.get("IRT_CHARTS")
        if not folder:
            return [self.name, "--repo", self.repository, "--version", self.version]
        archive = Path(folder) / f"{self.name}-{self.version}.tgz"
        if not archive.is_file():
            raise ConfigurationError(f"CHARTS={folder}: expected {archive.name} in it")
        return [str(archive)]


AIRFLOW_CHART = Chart("airflow", "1.22.0", "https://airflow.apache.org")
APPLICATION_CHART = Chart("application", "9.2.0", "https://stakater.github.io/stakater-charts")


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        name: the release's.
        chart: what it is made from.
        namespace: where.
        values: files under helm-values/.
        settings: values that are this installation's own, as `helm --set` takes them; never secret.
    """

    name: str
    chart: Chart
    namespace: str
    values: tuple[str, ...]
    settings: tuple[str, ...] = field(default=())

    def arguments(self, root: Path) -> list[str]:
        """The arguments of `helm template` and `helm upgrade --install` after their own."""
        files = [argument for name in self.values for argument in ("-f", str(root / "helm-values" / f"{name}.yaml"))]
        settings = [argument for setting in self.settings for argument in ("--set", setting)]
        return [self.name, *self.chart.arguments(), "-n", self.namespace, *files, *settings]


def product(
    overlay: str, *, executor: str = "LocalExecutor", services: Sequence[str] = SERVICES, root: Path
) -> list[Release]:
    """Return the product's releases in the order to install them, without credentials and monitoring.

    Args:
        overlay: `trial` or `production`: the folder of helm-values/ whose files come last.
        executor: Airflow's.
        services: the R services to install.
        root: the repository.

    Raises:
        ConfigurationError: there is no such overlay, executor or service.
    """
    for value, known, name in ((overlay, OVERLAYS, "overlay"), (executor, EXECUTORS, "EXECUTOR")):
        if value not in known:
            raise ConfigurationError(f"{name} {value!r}: expected {' or '.join(known)}")
    unknown = set(services) - set(SERVICES)
    if unknown:
        raise ConfigurationError(f"SERVICES={' '.join(sorted(unknown))}: expected names of {', '.join(SERVICES)}")
    variant = ["-kubernetes-executor"] if executor == "KubernetesExecutor" else []

    def files(*names: str) -> tuple[str, ...]:
        """The files of these names, and their overlays where there are any."""
        overlays = (f"{overlay}/{name}" for name in names)
        return (*names, *(name for name in overlays if (root / "helm-values" / f"{name}.yaml").exists()))

    jobs = Release(
        "irt-jobs",
        APPLICATION_CHART,
        JOBS_NAMESPACE,
        files("jobs", "images/jobs", *(f"jobs{suffix}" for suffix in variant)),
    )
    r_services = [
        Release(
            f"r-{service}-plumber",
            APPLICATION_CHART,
            AIRFLOW_NAMESPACE,
            files("r-service", f"r-{service}", f"images/r-{service}"),
        )
        for service in services
    ]
    airflow = Release(
        "airflow",
        AIRFLOW_CHART,
        AIRFLOW_NAMESPACE,
        (
            *files("airflow", "images/airflow", *(f"airflow{suffix}" for suffix in variant)),
            *(["images/statsd-exporter"] if overlay == "trial" else []),
        ),
    )
    return [jobs, *r_services, airflow]


TRIAL_DATABASE = Release("irt-postgres", APPLICATION_CHART, AIRFLOW_NAMESPACE, ("trial/postgres", "images/postgres"))
TRIAL_STORE = Release("irt-s3", APPLICATION_CHART, AIRFLOW_NAMESPACE, ("trial/s3", "images/s3"))


def helm(*arguments: str, capture: bool = True) -> str:
    """Run helm and return what it printed.

    Raises:
        HelmError: it failed; with its message.
    """
    program = Path(sys.executable).with_name("helm")
    command = [str(program) if program.exists() else "helm", *arguments]
    ended = subprocess.run(command, capture_output=capture, text=True, check=False)
    if ended.returncode:
        raise HelmError(f"helm {arguments[0]}: {(ended.stderr or '').strip()}")
    return ended.stdout
