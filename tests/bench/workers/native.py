"""This project's engine, in the product's own environment; a small unmeasured run compiles the kernels.

The stages of its EM are noted as they end, with their size and their time, to be held against what the machine allows.
"""

import time
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from tests.bench.workers.protocol import Task, timed

from irt_analytics.irt import Calibration, Responses, calibrate
from irt_analytics.irt._em import Estimation
from irt_analytics.irt._kernels.posterior import BLOCK

task = Task.from_arguments()
stages: list[dict[str, float]] = []
stage = Estimation.maximise


def noted(self: Estimation, theta: np.ndarray[Any, Any], *, blocks: Any = None, **others: Any) -> Any:
    """A stage of the EM, with a note of it."""
    began = time.perf_counter()
    end = stage(self, theta, blocks=blocks, **others)
    data = self.blocks.responses
    firsts = BLOCK * (np.arange(self.blocks.n_blocks) if blocks is None else blocks)
    lasts = np.minimum(firsts + BLOCK, data.n_students)
    stages.append(
        {
            "nodes": len(theta),
            "learners": int((lasts - firsts).sum()),
            "answers": int((data.indptr[lasts] - data.indptr[firsts]).sum()),
            "steps": end.evaluations,
            "seconds": time.perf_counter() - began,
        }
    )
    return end


def fit(responses: Responses) -> Calibration:
    """Fit without priors, the estimates alone as the peers do."""
    return calibrate(responses, model="2PL", quadrature=task.points, tolerance=task.tolerance, standard_errors=False)


columns = task.load()
small = columns[0] < 20_000
fit(Responses.from_long(*(column[small] for column in columns)))
responses, loading = timed(partial(Responses.from_long, *columns))
del columns, small
Estimation.maximise = noted  # type: ignore[method-assign]
calibration, times = timed(partial(fit, responses))
if len(calibration.items) < task.n_items:
    raise SystemExit(f"{task.n_items - len(calibration.items)} items have no finite estimate: ask for more learners")
task.finish(
    calibration.items["a"],
    calibration.items["b"],
    version=version("irt-analytics"),
    **times,
    prepare_seconds=loading["seconds"],
    em_seconds=sum(done["seconds"] for done in stages),
    stages=stages,
    iterations=calibration.iterations,
    converged=calibration.converged,
    own_log_likelihood=calibration.log_likelihood,
)
