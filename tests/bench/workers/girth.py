"""girth: numpy, nothing to warm up; ends when no slope moves by 0.001, and says neither cycles nor convergence."""

from importlib.metadata import version

import numpy as np
from girth import tag_missing_data, twopl_mml  # type: ignore[import-not-found]
from tests.bench.workers.protocol import Task, timed

task = Task.from_arguments()
matrix = tag_missing_data(task.dense(-1, np.int64).T, [0, 1])
options = {"quadrature_n": task.points, "quadrature_bounds": (-6, 6), "max_iteration": 2_000}
estimates, times = timed(lambda: twopl_mml(matrix, options))
task.finish(
    estimates["Discrimination"],
    estimates["Difficulty"],
    version=version("girth"),
    **times,
    iterations=None,
    converged=None,
    own_log_likelihood=None,
)
