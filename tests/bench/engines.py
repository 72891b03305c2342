"""The engines under comparison: how each is installed, and the process that runs one of them once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from tests.bench.datasets import Dataset

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-bench"
PY_IRT = PEERS / "py-irt"
R_LIBRARY = PEERS / "R"
SHARED_R_PACKAGES = ROOT.parent / "shared" / "r"

#: What R mirt imports, as Debian packages it.
DEBIAN_PACKAGES = [
    "r-base-core",
    *(
        f"r-cran-{name}"
        for name in (
            "gparotation",
            "vegan",
            "gridextra",
            "mgcv",
            "rcpp",
            "pbapply",
            "testthat",
            "parallelly",
            "dplyr",
            "sessioninfo",
            "future",
            "future.apply",
            "progressr",
            "r.utils",
            "stringr",
        )
    ),
]


class Unavailable(Exception):  # noqa: N818 - reported as a row of the result
    """An engine cannot be had here; the message says why."""


@dataclass(frozen=True)
class Settings:
    """What every engine is told alike.

    Attributes:
        points: quadrature points.
        tolerance: of EM.
        threads: threads.
    """

    points: int
    tolerance: float
    threads: int


@dataclass(frozen=True)
class Run:
    """What one process measured, and its estimates."""

    figures: dict[str, Any]
    items: pd.DataFrame


@dataclass(frozen=True)
class Engine:
    """A package that calibrates the 2PL.

    Attributes:
        name: as printed.
        prepare: makes the engine available, or raises `Unavailable`.
        command: the worker's command line up to the data.
        needs_dense: whether it holds the learners x items matrix in memory.
        timed: whether it is timed where it is not asked for by name.
    """

    name: str
    prepare: Callable[[], None]
    command: tuple[str, ...]
    needs_dense: bool = True
    timed: bool = True

    def run(self, data: Path, dataset: Dataset, settings: Settings) -> Run:
        """Fit once in a process of its own, on as many processors as threads.

        Raises:
            Unavailable: the process failed; the message is the end of its error output.
        """
        with TemporaryDirectory(prefix="irt-bench-") as output:
            numbers = dataset.n_students, dataset.n_items, settings.points, settings.tolerance
            arguments = [str(data), output, *map(str, numbers)]
            if self.command[0] == "Rscript":
                arguments += [str(settings.threads), str(R_LIBRARY)]
            process = subprocess.run(
                [*self.command, *arguments],
                env=_environment(settings.threads),
                preexec_fn=partial(os.sched_setaffinity, 0, first_processors(settings.threads)),
                capture_output=True,
                text=True,
                check=False,
            )
            if process.returncode != 0:
                last = process.stderr.strip().splitlines()[-5:] or [f"exit code {process.returncode}"]
                raise Unavailable(f"{self.name} failed: {' | '.join(last)}")
            figures = json.loads((Path(output) / "figures.json").read_text())
            return Run(figures, pd.read_csv(Path(output) / "items.csv"))


def _environment(threads: int) -> dict[str, str]:
    """Every library that has threads gets the same number; JAX takes the processors that the process may use."""
    pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    return (
        os.environ
        | {f"{pool}_NUM_THREADS": str(threads) for pool in pools}
        | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'include'}"}
    )


def first_processors(n: int) -> list[int]:
    """The first `n` processors that this process may use.

    Raises:
        Unavailable: it may use fewer.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < n:
        raise Unavailable(f"{n} threads were asked for and {len(allowed)} processors may be used")
    return allowed[:n]


def _call(*command: str) -> None:
    """Run a step of an installation; its last error line is the reason if it fails."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines() or [f"exit code {error.returncode}"]
        raise Unavailable(f"{' '.join(command[:3])} ...: {lines[-1]}") from error


def find_uv() -> str:
    """Path of uv: the variable UV, the project's own copy, or the one on PATH.

    Raises:
        Unavailable: there is none.
    """
    own = ROOT / ".demo" / "uv" / "bin" / "uv"
    found = os.environ.get("UV") or (str(own) if own.exists() else shutil.which("uv"))
    if not found:
        raise Unavailable("uv was found neither in the variable UV nor in .demo/uv/bin nor on PATH")
    return found


def install_python(environment: Path, requirements: str) -> None:
    """Bring an environment to the pinned versions of a file beside this one."""
    uv = find_uv()
    python = environment / "bin" / "python"
    if not python.exists():
        _call(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment))
    pinned = str(Path(__file__).parent / requirements)
    _call(uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", pinned)


def install_r_mirt() -> None:
    """Install R by apt where it is missing and we may, and mirt into .venv-bench/R.

    R_REPOS names the package repository; default: ../shared/r where it exists, else R's own first CRAN mirror.
    """
    if shutil.which("Rscript") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Unavailable("Rscript is not installed, and only root can install it by apt")
        _call("apt-get", "update", "-qq")
        _call("apt-get", "install", "-y", "-qq", "--no-install-recommends", *DEBIAN_PACKAGES)
    if (R_LIBRARY / "mirt" / "DESCRIPTION").exists():
        return
    R_LIBRARY.mkdir(parents=True, exist_ok=True)
    repository = os.environ.get("R_REPOS") or (f"file://{SHARED_R_PACKAGES}" if SHARED_R_PACKAGES.exists() else "")
    choose = f"repos <- {json.dumps(repository)}" if repository else "chooseCRANmirror(ind = 1)"
    install = "install.packages('mirt', lib = lib" + (", repos = repos)" if repository else ")")
    _call("Rscript", "-e", f"lib <- {json.dumps(str(R_LIBRARY))}; .libPaths(c(lib, .libPaths())); {choose}; {install}")
    if not (R_LIBRARY / "mirt" / "DESCRIPTION").exists():
        raise Unavailable(f"R could not install mirt from {repository or 'its default CRAN mirror'}")


def _python_peer(
    name: str, worker: str, environment: Path = PEERS, requirements: str = "requirements.txt", *, timed: bool = True
) -> Engine:
    command = str(environment / "bin" / "python"), "-m", f"tests.bench.workers.{worker}"
    return Engine(name, partial(install_python, environment, requirements), command, timed=timed)


ENGINES = {
    "native": Engine(
        "irt-analytics", lambda: None, (sys.executable, "-m", "tests.bench.workers.native"), needs_dense=False
    ),
    "mirt_r": Engine("R mirt", install_r_mirt, ("Rscript", str(Path(__file__).parent / "workers" / "mirt_r.R"))),
    "mirt_python": _python_peer("PyPI mirt", "mirt_python"),
    "theta_irt": _python_peer("theta-irt", "theta_irt"),
    # girth takes longer than all others together; py-irt ends by epochs and not at a maximum.
    "girth": _python_peer("girth", "girth", timed=False),
    "py_irt": _python_peer("py-irt", "py_irt", PY_IRT, "requirements-py-irt.txt", timed=False),
}
