"""Calibration by R mirt behind r-irt-plumber, with the face of the native engine's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import clients
from irt_analytics.clients.irt import IrtCalibrateRequest, IrtCalibrateResult
from irt_analytics.errors import ConfigurationError, RefusedError, Skip
from irt_analytics.irt import Responses
from irt_analytics.irt.anchors import COVARIANCES, error_blocks
from irt_analytics.irt.calibrate import Exclusion
from irt_analytics.irt.quadrature import Quadrature
from irt_analytics.params import RunParams
from irt_analytics.settings import Settings

#: Items up to which mirt's standard errors are asked for: their time grows with the square of the parameters.
ERROR_ITEMS = 1_000


@dataclass(frozen=True, eq=False)
class MirtCalibration:
    """What R mirt estimated; attributes as `irt.calibrate.Calibration`, and mirt's version."""

    items: pd.DataFrame
    model: str
    priors: str
    priors_of_few: str
    quadrature: Quadrature
    log_likelihood: float
    converged: bool
    iterations: int
    latent_mean: float
    latent_sd: float
    n_persons: int
    n_items: int
    n_responses: int
    aic: float
    bic: float
    exclusions: tuple[Exclusion, ...]
    se_method: Literal["full", "none"]
    engine_version: str

    @property
    def error_blocks(self) -> NDArray[np.float64]:
        """Covariance of (a, b, c) of every item, shape (n_items, 3, 3)."""
        return error_blocks(self.items)


def calibrate_by_mirt(
    responses: Responses, params: RunParams, settings: Settings, *, unit: float = 1.0
) -> MirtCalibration:
    """Let r-irt-plumber calibrate.

    Args:
        responses: the answers.
        params: model and priors.
        settings: where the service is.
        unit: of the slopes that the weak priors are meant for.

    Raises:
        ConfigurationError: there is no such service here.
        RefusedError: mirt cannot calibrate these answers.
    """
    try:
        service = clients.address(settings, "irt")
    except Skip as skip:
        raise ConfigurationError(f"--irt-engine=mirt: {skip}; expected native, or the service") from None
    ids = responses.item_ids.astype(str)
    learner = np.repeat(np.arange(responses.n_students), np.diff(responses.indptr))
    request = IrtCalibrateRequest(
        learner=learner.astype(str).tolist(),
        item=ids.take(responses.answers >> 1).tolist(),
        correct=(responses.answers & 1).astype(bool).tolist(),
        model=params.model,
        priors=params.priors,
        weak_below=params.item_minimum,
        weak_unit=unit,
        standard_errors=len(ids) <= ERROR_ITEMS,
    )

    async def calibrate() -> IrtCalibrateResult:
        async with clients.RIrtClient(service) as client:
            return await client.calibrate(request)

    try:
        result = clients.run(calibrate)
    except Skip as skip:
        raise RefusedError(f"the answers cannot be calibrated: {skip}") from None
    return as_calibration(result)


def as_calibration(result: IrtCalibrateResult) -> MirtCalibration:
    """Give the service's answer the native engine's names."""
    errors = ["se_a", "se_b", "se_c", *COVARIANCES]
    own = result.items.model_dump(include={"a", "b", "c", *errors, "n_responses", "p_value"})
    items = pd.DataFrame({"item_id": result.items.item, **own})
    items[errors] = items[errors].astype(np.float64)
    latent = result.latent
    items.attrs = {"model": result.model, "latent_mean": latent.mean, "latent_sd": latent.sd}
    excluded = result.exclusions
    exclusions = [
        ("every answer to the item is right", len(excluded.all_right), tuple(excluded.all_right)),
        ("every answer to the item is wrong", len(excluded.all_wrong), tuple(excluded.all_wrong)),
        ("the learner answered excluded items only", excluded.n_learners_without_items, ()),
    ]
    return MirtCalibration(
        items=items,
        model=result.model,
        priors=result.priors,
        priors_of_few=result.priors_of_few,
        quadrature=Quadrature(result.quadrature.nodes, result.quadrature.lower, result.quadrature.upper),
        log_likelihood=result.log_likelihood,
        converged=result.converged,
        iterations=result.iterations,
        latent_mean=latent.mean,
        latent_sd=latent.sd,
        n_persons=result.n_persons,
        n_items=result.n_items,
        n_responses=result.n_responses,
        aic=result.aic,
        bic=result.bic,
        exclusions=tuple(Exclusion(reason, count, ids) for reason, count, ids in exclusions if count),
        se_method="none" if result.se_method == "none" else "full",
        engine_version=result.engine_versions["mirt"],
    )
