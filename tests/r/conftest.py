"""R with the services' packages, installed once into .demo/r/library as for a demo."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Where R mirt comes from on a machine without CRAN.
REPOSITORY = ROOT.parent / "shared" / "r"
LIBRARY = ROOT / ".demo" / "r" / "library"


@pytest.fixture(scope="session")
def r_status() -> dict[str, dict[str, object]]:
    """What tools/setup-r says of every service."""
    environment = dict(os.environ)
    if (REPOSITORY / "src").is_dir():
        environment.setdefault("R_REPOS", REPOSITORY.as_uri())
    subprocess.run([str(ROOT / "tools" / "setup-r"), "dev"], cwd=ROOT, env=environment, check=True)
    status: dict[str, dict[str, object]] = json.loads((LIBRARY.parent / "status.json").read_text(encoding="utf-8"))
    return status


@pytest.fixture(scope="session")
def require_r(r_status: dict[str, dict[str, object]]) -> Callable[[str], Path]:
    """Return the R library in which a service (irt, glmm, forecast, brms) runs, or skip with the reason why not."""

    def require(service: str) -> Path:
        if not r_status[service]["ok"]:
            pytest.skip(f"R service {service}: {r_status[service]['reason']}")
        return LIBRARY

    return require


@pytest.fixture(scope="session")
def r_library(r_status: dict[str, dict[str, object]]) -> Path:
    """The R library that holds irtcommon, or a skip where R cannot be had."""
    if not (LIBRARY / "irtcommon").is_dir():
        pytest.skip("; ".join(str(entry.get("reason")) for entry in r_status.values()))
    return LIBRARY
