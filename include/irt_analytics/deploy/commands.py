"""The commands behind `make images`, `make k8s-up`, `make k8s-demo` and `make k8s-down`."""

import os
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from irt_analytics import __version__
from irt_analytics.cli import parse_day
from irt_analytics.deploy.images import LOCAL_REGISTRY, Builder, find_builder, select, write_values
from irt_analytics.deploy.releases import EXECUTORS, SERVICES
from irt_analytics.errors import ConfigurationError

HELP = {"help_option_names": ["-h", "--help"]}


@click.group("deploy", context_settings=HELP)
def command() -> None:
    """Build the images, and run the product on the cluster that KUBECONFIG names; the Makefile's commands."""


@command.command("images", context_settings=HELP)
@click.option("--registry", envvar="IRT_REGISTRY", default=LOCAL_REGISTRY, show_default=True, help="host and folder")
@click.option("--tag", envvar="IRT_TAG", default=__version__, show_default=True, help="version of the images")
@click.option("--push", envvar="IRT_PUSH", is_flag=True, help="push them, and name them by digest in the values")
@click.option("--only", envvar="IRT_ONLY", default="", help="names of images; default: the product's")
@click.option("--options", envvar="IRT_BUILD_OPTIONS", default="", help="further arguments of the builder")
def images(registry: str, tag: str, push: bool, only: str, options: str) -> None:
    """Build the images with buildah, podman or docker, and write their names into helm-values/images/."""
    if tag == "latest":
        raise ConfigurationError("TAG=latest: expected a version, for what `latest` means changes under a running task")
    if push and registry == LOCAL_REGISTRY:
        raise ConfigurationError("PUSH=1 without REGISTRY: expected REGISTRY=host/folder to push to")
    root = find_root()
    wanted = select(only.split())
    builder = Builder(root, find_builder(), registry.rstrip("/"), tag, tuple(shlex.split(options)))
    built = []
    for image in wanted:
        one = builder.build(image)
        built.append(builder.push(one) if push else one)
    for one in built:
        click.echo(one.reference)
    for path in write_values(built, root / "helm-values" / "images"):
        click.echo(f"wrote {path.relative_to(root)}")


@command.command("up", context_settings=HELP)
@click.option(
    "--services", envvar="IRT_SERVICES", default=" ".join(SERVICES), show_default=True, help="R services; none"
)
@click.option("--executor", envvar="IRT_EXECUTOR", default=EXECUTORS[0], show_default=True, help="Airflow's")
def up(services: str, executor: str) -> None:
    """Install a trial: PostgreSQL, an S3, the R services and Airflow.

    DATABASE_URL names another database for the answers, REPORT_STORE_URL another store for the reports, which gets the
    keys, region and endpoint of AWS_* where it is an S3.
    """
    from irt_analytics.deploy.trial import Trial, given_report_store

    names = () if services == "none" else tuple(services.split())
    database = os.environ.get("DATABASE_URL", "")
    trial = Trial(find_root(), names, executor, database, given_report_store(os.environ))
    trial.install(_say)
    click.echo(
        "Airflow runs. Its web UI:\n"
        "    kubectl port-forward -n seedtest service/airflow-api-server 8080\n"
        "at http://localhost:8080 for the user admin, whose password is\n"
        "    kubectl get secret -n seedtest airflow-secrets -o jsonpath='{.data.admin-password}' | base64 -d\n"
        "A run of the whole Dag:  make k8s-demo.  All of it goes with  make k8s-down."
    )


@command.command("demo", context_settings=HELP)
@click.option(
    "--data", envvar="IRT_DEMO_DATA", type=click.Path(path_type=Path), help="a log; default: a simulated cohort"
)
@click.option("--columns", envvar="IRT_DEMO_COLUMNS", default="", help='names in the log: "correct=is_right,..."')
@click.option("--as-of", envvar="IRT_DEMO_AS_OF", metavar="YYYY-MM-DD", help="day to run; default: the log's last day")
@click.option("--learners", envvar="IRT_LEARNERS", default=1000, show_default=True, help="of the simulated cohort")
def demo(data: Path | None, columns: str, as_of: str | None, learners: int) -> None:
    """Load a log into the trial, run the Dag on it through Airflow's REST API, and say where the report is."""
    from irt_analytics.deploy.run import TENANT, load, run_day

    day = parse_day(as_of) if as_of else None
    if data is None:
        wanted = ("simulate", "--as-of", str(day or _yesterday()), "--learners", str(learners), "--replace")
        last = load((*wanted, "--tenant", TENANT), _say)
    else:
        mapping = ("--columns", columns) if columns else ()
        last = load(("load", str(data), "--tenant", TENANT, *mapping), _say)
    ended = run_day(day or min(last, _yesterday()), {}, _say)
    for name, url in ended.reports.items():
        click.echo(f"report ({name})  {url}")


@command.command("down", context_settings=HELP)
def down() -> None:
    """Remove the trial with all its data."""
    from irt_analytics.deploy.trial import uninstall

    names = uninstall()
    click.echo(f"removed {' and '.join(names)}" if names else "there was no trial")


def find_root() -> Path:
    """Return the checkout that this package runs from.

    Raises:
        ConfigurationError: the package is installed without its repository.
    """
    root = Path(__file__).parents[3]
    if not (root / "helm-values").is_dir():
        raise ConfigurationError(f"{root} has no helm-values: this command runs from a checkout of the repository")
    return root


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def _say(text: str) -> None:
    click.echo(f"  {text}")
