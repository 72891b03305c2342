"""This project's engine, in the product's own environment; a small unmeasured run compiles the kernels."""

from functools import partial
from importlib.metadata import version

from tests.bench.workers.protocol import Task, timed

from irt_analytics.irt import Calibration, Responses, calibrate

task = Task.from_arguments()


def fit(responses: Responses) -> Calibration:
    """Fit without priors, the estimates alone as the peers do."""
    return calibrate(responses, model="2PL", quadrature=task.points, tolerance=task.tolerance, standard_errors=False)


columns = task.load()
small = columns[0] < 20_000
fit(Responses.from_long(*(column[small] for column in columns)))
responses, loading = timed(partial(Responses.from_long, *columns))
del columns, small
calibration, times = timed(partial(fit, responses))
task.finish(
    calibration.items["a"],
    calibration.items["b"],
    version=version("irt-analytics"),
    **times,
    prepare_seconds=loading["seconds"],
    iterations=calibration.iterations,
    converged=calibration.converged,
    own_log_likelihood=calibration.log_likelihood,
)
