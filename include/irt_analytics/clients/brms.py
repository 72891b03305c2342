"""Client of r-brms-plumber: the population part of Bayesian growth, by R brms."""

from collections.abc import Callable
from typing import Any, ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class GrowthFitRequest(Request):
    """What /growth/fit is asked: equally long columns, a row a learner and week, and how to sample."""

    student: list[int]
    week: list[float]
    y: list[float]
    v: list[float]
    seed: int
    chains: int | None = None
    warmup: int | None = None
    draws: int | None = None


class GrowthPopulation(Result):
    """Columns, a row a parameter: its posterior mean, sd and 95 % interval, and how well it was sampled."""

    term: list[str]
    mean: list[float]
    sd: list[float]
    lower: list[float]
    upper: list[float]
    rhat: list[float]
    ess_bulk: list[float]
    ess_tail: list[float]


class GrowthDraws(Result):
    """Columns, a row a draw from the posterior of the population's parameters, chain after chain."""

    intercept: list[float]
    slope: list[float]
    sd_intercept: list[float]
    sd_slope: list[float]
    correlation: list[float]
    sigma: list[float]


class GrowthFitResult(Result):
    """What /growth/fit answers."""

    formula: str
    priors: list[str]
    n_learners: int
    n_rows: int
    population: GrowthPopulation
    draws: GrowthDraws
    max_rhat: float
    divergences: int
    max_treedepth_hits: int
    sampler: dict[str, Any]
    engine_versions: dict[str, str]
    warnings: list[str]


class RBrmsClient(RServiceClient):
    """Samples the growth model of a population of learners."""

    name: ClassVar[ServiceName] = "brms"

    async def fit_growth(
        self, request: GrowthFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> GrowthFitResult:
        """Return the posterior draws of the population and their diagnostics."""
        return await self._fit("/growth/fit", request, GrowthFitResult, on_progress)
