"""The way to a trial's ports, by a stand-in for kubectl; the real one is in tests/k8s."""

import os
import time
from pathlib import Path

import pytest

from irt_analytics.deploy.cluster import ClusterError, forwarded

TALKATIVE = """#!/bin/sh
echo "Forwarding from 127.0.0.1:40123 -> 5432"
for n in $(seq 4000); do echo "Handling connection for 40123, the number $n of them"; done
touch "$0.said-all"
exec sleep 60
"""
REFUSES = """#!/bin/sh
echo 'Error from server (NotFound): services "irt-postgres" not found'
exit 1
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "kubectl"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_a_way_stays_open_however_many_connections_take_it(kubectl: Path) -> None:
    """kubectl waits for whoever reads its lines, and a long load would stand still."""
    kubectl.write_text(TALKATIVE)
    with forwarded("service/irt-postgres", 5432, "seedtest") as port:
        assert port == 40123
        give_up = time.monotonic() + 30
        while not Path(f"{kubectl}.said-all").exists():
            assert time.monotonic() < give_up, "kubectl waits for a reader"
            time.sleep(0.02)


def test_a_way_that_is_refused_says_why(kubectl: Path) -> None:
    kubectl.write_text(REFUSES)
    with (
        pytest.raises(ClusterError, match=r"kubectl port-forward service/irt-postgres: Error from server \(NotFound\)"),
        forwarded("service/irt-postgres", 5432, "seedtest"),
    ):
        pass
