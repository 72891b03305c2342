"""theta-irt: compiled by JAX for each shape, so the unmeasured run is a whole one."""

from importlib.metadata import version

import numpy as np
import theta  # type: ignore[import-not-found]
from tests.bench.workers.protocol import Task, timed

task = Task.from_arguments()
matrix = task.dense(np.nan, np.float64)


def fit() -> theta.IRTModel:
    """Fit; standard errors are a call of their own."""
    return theta.fit(matrix, "2PL", n_points=task.points, tol=task.tolerance)


fit()
model, times = timed(fit)
task.finish(
    model.a,
    model.b,
    version=version("theta-irt"),
    **times,
    iterations=model.n_iter,
    converged=model.converged,
    own_log_likelihood=model.loglik,
)
