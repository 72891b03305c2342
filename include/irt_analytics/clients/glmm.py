"""Client of r-glmm-plumber: the generalised linear mixed model of answers, by R lme4."""

from collections.abc import Callable
from typing import ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class GlmmFitRequest(Request):
    """What /glmm/fit is asked."""


class GlmmFitResult(Result):
    """What /glmm/fit answers."""


class GlmmPredictRequest(Request):
    """What /glmm/predict is asked."""


class GlmmPredictResult(Result):
    """What /glmm/predict answers."""


class RGlmmClient(RServiceClient):
    """Fits the GLMM and scores with its coefficients."""

    name: ClassVar[ServiceName] = "glmm"

    async def fit(
        self, request: GlmmFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> GlmmFitResult:
        """Return the fit of one set of answers."""
        return await self._fit("/glmm/fit", request, GlmmFitResult, on_progress)

    async def predict(self, request: GlmmPredictRequest) -> GlmmPredictResult:
        """Return what a kept fit predicts."""
        return await self._call("/glmm/predict", request, GlmmPredictResult)
