"""Client of r-brms-plumber: the population part of Bayesian growth, by R brms."""

from collections.abc import Callable
from typing import ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class GrowthFitRequest(Request):
    """What /growth/fit is asked."""


class GrowthFitResult(Result):
    """What /growth/fit answers."""


class RBrmsClient(RServiceClient):
    """Samples the growth model of a population of learners."""

    name: ClassVar[ServiceName] = "brms"

    async def fit_growth(
        self, request: GrowthFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> GrowthFitResult:
        """Return the posterior draws of the population and their diagnostics."""
        return await self._fit("/growth/fit", request, GrowthFitResult, on_progress)
