"""Client of r-forecast-plumber: churn by R survival, weekly forecasts by R prophet."""

from collections.abc import Callable
from typing import ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class SurvivalFitRequest(Request):
    """What /survival/fit is asked."""


class SurvivalFitResult(Result):
    """What /survival/fit answers."""


class ProphetFitRequest(Request):
    """What /prophet/fit is asked."""


class ProphetFitResult(Result):
    """What /prophet/fit answers."""


class RForecastClient(RServiceClient):
    """Fits the churn model and the weekly forecasts."""

    name: ClassVar[ServiceName] = "forecast"

    async def fit_survival(
        self, request: SurvivalFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> SurvivalFitResult:
        """Return the churn model of one set of landmarks, its evaluation and its risks."""
        return await self._fit("/survival/fit", request, SurvivalFitResult, on_progress)

    async def fit_prophet(
        self, request: ProphetFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> ProphetFitResult:
        """Return forecasts and anomalies of a set of weekly series."""
        return await self._fit("/prophet/fit", request, ProphetFitResult, on_progress)
