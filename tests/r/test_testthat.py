"""The R packages' own tests and their style, run from here so that `make test` fails with them."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "include" / "r_services"
FOLDERS = ("common", "irt", "glmm", "forecast", "brms")
#: As `devtools::test` would, but against the installed package, with one line a failure, a skip or a warning.
TEST = """
results <- as.data.frame(testthat::test_local(commandArgs(TRUE), load_package = "installed", reporter = "check",
                                              stop_on_failure = FALSE))
cat(sprintf("tests: %d, failed: %d, skipped: %d\\n", nrow(results), sum(results$failed > 0 | results$error),
            sum(results$skipped)))
"""
LINT = """
lints <- lintr::lint_package(commandArgs(TRUE))
print(lints)
cat(sprintf("lints: %d\\n", length(lints)))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Require = Callable[[str], Path]


def _rscript(code: str, folder: Path, library: Path) -> str:
    """What R prints."""
    environment = os.environ | {"R_LIBS": str(library), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment |= {"STAN_MODELS": str(library.parent / "stan"), "NO_COLOR": "1", "TZ": "UTC"}
    ended = subprocess.run(
        ["Rscript", "-e", code, str(folder)], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    return f"{ended.stdout}\n{ended.stderr}"


@pytest.fixture(params=FOLDERS)
def package(request: pytest.FixtureRequest, require_r: Require) -> Path:
    """The folder of a package that is installed."""
    folder: str = request.param
    if folder != "common":
        require_r(folder)
    return SERVICES / folder


def test_the_package_passes_its_own_tests(package: Path, r_library: Path) -> None:
    """Statisticians read and run these: each number is checked against the reference package called directly."""
    said = _rscript(TEST, package, r_library)
    counted = re.search(r"tests: (\d+), failed: (\d+), skipped: (\d+)", said)
    assert counted, said
    tests, failed, skipped = map(int, counted.groups())
    assert failed == 0, said
    assert skipped == 0, said
    assert tests > 0, said


def test_the_package_is_lint_free(package: Path, r_library: Path) -> None:
    """One style in five packages; lintr also finds names that nothing defines."""
    said = _rscript(LINT, package, r_library)
    assert re.search(r"^lints: 0$", said, re.MULTILINE), said
