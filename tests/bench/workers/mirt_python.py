"""PyPI's mirt with its compiled 2PL path; the unmeasured run starts its threads."""

from importlib.metadata import version

import mirt  # type: ignore[import-not-found]
import numpy as np
from tests.bench.workers.protocol import Task, timed

task = Task.from_arguments()
matrix = task.dense(-1, np.int64)


def fit() -> mirt.FitResult:
    """Fit without standard errors."""
    return mirt.fit_mirt(matrix, "2PL", n_quadpts=task.points, tol=task.tolerance, compute_standard_errors=False)


fit()
result, times = timed(fit)
parameters = result.model.parameters
task.finish(
    parameters["discrimination"],
    parameters["difficulty"],
    version=version("mirt"),
    **times,
    iterations=int(result.n_iterations),
    converged=bool(result.converged),
    own_log_likelihood=float(result.log_likelihood),
)
