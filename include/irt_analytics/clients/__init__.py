"""Clients of the R services: typed requests and answers over one asynchronous base.

service = address(settings, "glmm")

async def fit() -> GlmmFitResult:
    async with RGlmmClient(service) as client:
        return await client.fit(request)

result = run(fit)
"""

from irt_analytics.clients.base import (
    FitStatus,
    Request,
    Result,
    RServiceClient,
    ServiceAddress,
    ServiceError,
    address,
    run,
)
from irt_analytics.clients.brms import RBrmsClient
from irt_analytics.clients.forecast import RForecastClient
from irt_analytics.clients.glmm import RGlmmClient
from irt_analytics.clients.irt import RIrtClient

__all__ = [
    "FitStatus",
    "RBrmsClient",
    "RForecastClient",
    "RGlmmClient",
    "RIrtClient",
    "RServiceClient",
    "Request",
    "Result",
    "ServiceAddress",
    "ServiceError",
    "address",
    "run",
]
