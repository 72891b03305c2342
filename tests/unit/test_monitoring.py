"""Alerts and dashboard: an alert that never fires, or always does, leaves a failed night unseen."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.airflow_home import ROOT
from tests.charts import Object, render

ALERTS = Path(__file__).with_name("alerts.yaml")
TOOLS = ROOT / ".demo" / "promtool"


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Prometheus' own checker: this machine's, or the one in Debian's package, unpacked and not installed."""
    installed = shutil.which("promtool")
    if installed:
        return Path(installed)
    program = TOOLS / "usr" / "bin" / "promtool"
    if not program.exists():
        if not shutil.which("apt-get"):
            pytest.skip("there is no promtool, and no apt-get to have Debian's")
        TOOLS.mkdir(parents=True, exist_ok=True)
        command = "apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb"
        ended = subprocess.run(["sh", "-c", command], cwd=TOOLS, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"there is no promtool, and Debian's prometheus cannot be had: {ended.stderr.strip()[-300:]}")
    return program


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render("irt-monitoring")


@pytest.fixture(scope="module")
def rules(objects: list[Object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    (found,) = [found for found in objects if found["kind"] == "PrometheusRule"]
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(found["spec"]))
    return path


def test_rules_are_rules(promtool: Path, rules: Path) -> None:
    ended = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool: Path, rules: Path) -> None:
    shutil.copy(ALERTS, rules.parent)
    program = [str(promtool), "test", "rules", str(rules.parent / ALERTS.name)]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_is_tested(rules: Path) -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
    tested = {
        case["alertname"]
        for test in yaml.safe_load(ALERTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tested == alerts


def dashboard(objects: list[Object]) -> dict[str, Any]:
    (found,) = [found for found in objects if found["kind"] == "ConfigMap"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1", "Grafana would not find it"
    loaded: dict[str, Any] = json.loads(found["data"]["irt-analytics.json"])
    return loaded


def test_alerts_and_panels_ask_for_figures_that_exist(objects: list[Object], rules: Path) -> None:
    """A name with a typing error is an empty panel, and an alert that never fires."""
    queries = [found for found in render("irt-database-exporter") if found["kind"] == "ConfigMap"]
    exporter = yaml.safe_load(queries[0]["data"]["queries.yaml"])
    known = {
        f"{prefix}_{name}"
        for prefix, query in exporter.items()
        for metric in query["metrics"]
        for name, described in metric.items()
        if described["usage"] != "LABEL"
    }
    known |= set(re.findall(r"\br_service_\w+", (ROOT / "include/r_services/common/R/metrics.R").read_text()))
    known |= {"airflow_dagrun_failed_count", "up", "pg_up"}
    asked = [rule["expr"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard(objects)["panels"] for target in panel["targets"]]
    names = {
        name for text in asked for name in re.findall(r"\b(?:irt|r_service|airflow|pg)_\w+|\bup\b", strings_off(text))
    }
    assert names <= known
    assert len(names) > 5


def strings_off(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)
