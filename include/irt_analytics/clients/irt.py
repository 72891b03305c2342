"""Client of r-irt-plumber: calibration by R mirt."""

from collections.abc import Callable
from typing import ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class IrtCalibrateRequest(Request):
    """What /irt/calibrate is asked."""


class IrtCalibrateResult(Result):
    """What /irt/calibrate answers."""


class RIrtClient(RServiceClient):
    """Calibrates items and estimates abilities by R mirt."""

    name: ClassVar[ServiceName] = "irt"

    async def calibrate(
        self, request: IrtCalibrateRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> IrtCalibrateResult:
        """Return the calibration of one set of responses."""
        return await self._fit("/irt/calibrate", request, IrtCalibrateResult, on_progress)
