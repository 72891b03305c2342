"""The charts that helm-values/ is written for, and what they render to."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.airflow_home import ROOT

from irt_analytics.deploy.releases import (
    AIRFLOW_CHART,
    AIRFLOW_NAMESPACE,
    APPLICATION_CHART,
    EXECUTORS,
    OVERLAYS,
    TRIAL_DATABASE,
    TRIAL_STORE,
    Release,
    helm,
    product,
)

CHARTS = ROOT.parent / "shared" / "charts"
Object = dict[str, Any]

#: What docs/kubernetes.md installs by hand: an installation of its own has it, a trial has not.
CREDENTIALS = Release("irt-credentials", APPLICATION_CHART, AIRFLOW_NAMESPACE, ("external-secrets",))
MONITORING = (
    Release(
        "irt-database-exporter",
        APPLICATION_CHART,
        AIRFLOW_NAMESPACE,
        ("database-exporter", "images/database-exporter"),
    ),
    Release("irt-monitoring", APPLICATION_CHART, AIRFLOW_NAMESPACE, ("monitoring",)),
)

#: What a store of this name needs to be told; no value of it is secret.
GCP = ("gcp.project=p", "gcp.clusterName=c", "gcp.clusterLocation=l", "reportStore.extra.url=gs://bucket/weekly")
#: What the templates ask of a cluster: what it has once ../shared/charts/crds, or the operators, are installed.
KINDS = (
    "policy/v1/PodDisruptionBudget",
    "autoscaling/v2/HorizontalPodAutoscaler",
    "batch/v1/CronJob",
    "monitoring.coreos.com/v1",
)


def need_charts() -> None:
    """Let helm find the charts here; skip where they are not."""
    missing = [chart.name for chart in (AIRFLOW_CHART, APPLICATION_CHART) if not archive(chart.name).exists()]
    if missing:
        pytest.skip(f"{CHARTS} lacks the charts {', '.join(missing)}")
    os.environ["IRT_CHARTS"] = str(CHARTS)


def archive(name: str) -> Path:
    return next(iter(CHARTS.glob(f"{name}-*.tgz")), CHARTS / f"{name}.tgz")


def every_release() -> Iterator[tuple[str, Release]]:
    """Every combination of values that the project documents, by name."""
    for overlay in OVERLAYS:
        for executor in EXECUTORS:
            for release in product(overlay, executor=executor, root=ROOT):
                yield f"{release.name}-{overlay}-{executor}", release
    for release in (TRIAL_DATABASE, TRIAL_STORE, *MONITORING):
        yield release.name, release
    yield CREDENTIALS.name, Release(CREDENTIALS.name, CREDENTIALS.chart, CREDENTIALS.namespace, CREDENTIALS.values, GCP)


RELEASES = dict(every_release())


@cache
def render(name: str, *settings: str) -> list[Object]:
    """The objects of a release, each with its namespace."""
    need_charts()
    release = RELEASES[name]
    extra = [argument for setting in settings for argument in ("--set", setting)]
    kinds = [argument for kind in KINDS for argument in ("--api-versions", kind)]
    text = helm("template", *release.arguments(ROOT), *kinds, *extra)
    objects = [found for found in yaml.safe_load_all(text) if found]
    for found in objects:
        found["metadata"].setdefault("namespace", release.namespace)
    return objects


def pods_of(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each workload's name and the pod that it makes."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        match found["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                yield name, found["spec"]["template"]
            case "CronJob":
                yield name, found["spec"]["jobTemplate"]["spec"]["template"]
            case "ConfigMap" if "pod_template_file.yaml" in (found.get("data") or {}):
                yield name, yaml.safe_load(found["data"]["pod_template_file.yaml"])
