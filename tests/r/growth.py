"""The growth service as the tests run it, and brms called without it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr
from tests.r.rservice import TOKEN, RService

from irt_analytics.clients import ServiceAddress
from irt_analytics.clients.brms import GrowthFitRequest

Floats = npt.NDArray[np.float64]


def growth_service(library: Path, log: Path) -> RService:
    """A service that samples the model that tools/setup-r has compiled."""
    return RService(["Rscript", "-e", "irtbrms::serve()"], library, log, STAN_MODELS=compiled(library).parent)


def compiled(library: Path) -> Path:
    """The compiled model."""
    (model,) = (library.parent / "stan").glob("growth-*.rds")
    return model


def address_of(service: RService) -> ServiceAddress:
    return ServiceAddress("brms", service.url, SecretStr(TOKEN))


def brms_itself(
    library: Path,
    folder: Path,
    request: GrowthFitRequest,
    sampler: dict[str, Any],
    week_ahead: float,
    target: Floats,
    *,
    compile_anew: bool,
) -> dict[str, Any]:
    """Draws of the population and what they say of every learner, from a full fit by brms."""
    asked = request.model_dump(include={"student", "week", "y", "v"}) | {
        "sampler": sampler,
        "week_ahead": np.full(len(target), week_ahead).tolist(),
        "target": target.tolist(),
    }
    (folder / "request.json").write_text(json.dumps(asked), encoding="utf-8")
    script = Path(__file__).parent / "growth_direct.R"
    model = "compile" if compile_anew else str(compiled(library))
    command = ["Rscript", str(script), model, str(folder / "request.json"), str(folder / "direct.json")]
    environment = os.environ | {"R_LIBS": str(library), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads((folder / "direct.json").read_text(encoding="utf-8"))
    return found
