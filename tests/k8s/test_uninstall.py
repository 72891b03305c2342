"""`make k8s-down`: nothing of a trial is left in the cluster. After every test that needs one."""

import subprocess
import sys

import pytest

from irt_analytics.deploy.cluster import find, kubectl
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, JOBS_NAMESPACE
from irt_analytics.deploy.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Kinds of things that no namespace holds, and that a chart might leave.
OF_THE_CLUSTER = "clusterroles,clusterrolebindings,priorityclasses,validatingwebhookconfigurations,persistentvolumes"


def test_a_trial_that_is_removed_leaves_nothing(trial: Trial) -> None:  # noqa: ARG001
    command = [sys.executable, "-m", "irt_analytics", "deploy", "down"]
    ended = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert ended == [f"removed {JOBS_NAMESPACE} and {AIRFLOW_NAMESPACE}\n", "there was no trial\n"]
    assert [find("namespace", name, "default") for name in (AIRFLOW_NAMESPACE, JOBS_NAMESPACE)] == [None, None]
    names = kubectl("get", OF_THE_CLUSTER, "-o", "name").splitlines()
    assert [name for name in names if "airflow" in name or "irt-" in name or AIRFLOW_NAMESPACE in name] == []
