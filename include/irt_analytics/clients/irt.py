"""Client of r-irt-plumber: calibration by R mirt."""

from collections.abc import Callable
from typing import ClassVar, Literal

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class IrtCalibrateRequest(Request):
    """What /irt/calibrate is asked; what is None has the service's default.

    Attributes:
        learner, item, correct: columns of one table, a row a response.
        model: Rasch has a = 1 and a free variance of theta.
        priors: weak is a ~ lognormal(0, 0.5), c ~ beta(5, 17); default none.
        weak_below: items with fewer responses have the weak priors in any case; default 0.
        weak_unit: sd of theta on the scale that the weak priors are meant for; default 1.
        logit_c: mean and sd of a normal prior of logit c in place of the beta prior.
        nodes, lower, upper: the quadrature; default 61 points on [-6, 6].
        tolerance, max_iterations: end of the EM algorithm; default 1e-6, 2000.
        standard_errors: whether to compute them; default yes.
        fixed_item, fixed_a, fixed_b, fixed_c: items that keep their parameters.
        reference_item, reference_a, reference_b, reference_c: items on the scale to link to.
        symmetric: whether the link counts both directions; default yes.
    """

    learner: list[str]
    item: list[str]
    correct: list[bool]
    model: Literal["Rasch", "2PL", "3PL"]
    priors: Literal["none", "weak"] | None = None
    weak_below: int | None = None
    weak_unit: float | None = None
    logit_c: tuple[float, float] | None = None
    nodes: int | None = None
    lower: float | None = None
    upper: float | None = None
    tolerance: float | None = None
    max_iterations: int | None = None
    standard_errors: bool | None = None
    fixed_item: list[str] | None = None
    fixed_a: list[float] | None = None
    fixed_b: list[float] | None = None
    fixed_c: list[float] | None = None
    reference_item: list[str] | None = None
    reference_a: list[float] | None = None
    reference_b: list[float] | None = None
    reference_c: list[float] | None = None
    symmetric: bool | None = None


class ItemParameters(Result):
    """Items, errors and covariances of a, b, c (None: fixed, or not found) and fit; columns of one table."""

    item: list[str]
    a: list[float]
    b: list[float]
    c: list[float]
    se_a: list[float | None]
    se_b: list[float | None]
    se_c: list[float | None]
    cov_ab: list[float | None]
    cov_ac: list[float | None]
    cov_bc: list[float | None]
    fixed: list[bool]
    n_responses: list[int]
    p_value: list[float]
    infit: list[float | None]
    outfit: list[float | None]
    s_x2: list[float | None]
    s_x2_df: list[float | None]
    s_x2_p: list[float | None]


class LatentDistribution(Result):
    """Mean and sd of theta, and their errors (None: not estimated)."""

    mean: float
    sd: float
    se_mean: float | None
    se_sd: float | None


class Persons(Result):
    """EAP of every learner; columns of one table."""

    learner: list[str]
    theta: list[float]
    se: list[float]
    n_responses: list[int]


class DroppedAnchors(Result):
    """Items of the reference that are no anchors; columns of one table."""

    item: list[str]
    reason: list[str]


class LinkingConstants(Result):
    """theta on the reference scale is A theta + B."""

    A: float
    B: float
    method: str
    symmetric: bool
    n_anchors_used: int
    dropped: DroppedAnchors


class Exclusions(Result):
    """What did not take part."""

    all_right: list[str]
    all_wrong: list[str]
    fixed_without_responses: list[str]
    n_learners_without_items: int


class MirtQuadrature(Result):
    """Equally spaced points."""

    nodes: int
    lower: float
    upper: float


class IrtCalibrateResult(Result):
    """What /irt/calibrate answers."""

    model: Literal["Rasch", "2PL", "3PL"]
    priors: str
    priors_of_few: str
    items: ItemParameters
    latent: LatentDistribution
    persons: Persons
    linking_constants: LinkingConstants | None
    exclusions: Exclusions
    n_persons: int
    n_items: int
    n_responses: int
    n_parameters: int
    log_likelihood: float
    aic: float
    bic: float
    converged: bool
    iterations: int
    se_method: Literal["none", "Oakes"]
    quadrature: MirtQuadrature
    tolerance: float
    engine_versions: dict[str, str]
    messages: list[str]
    warnings: list[str]


class RIrtClient(RServiceClient):
    """Calibrates items and estimates abilities by R mirt."""

    name: ClassVar[ServiceName] = "irt"

    async def calibrate(
        self, request: IrtCalibrateRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> IrtCalibrateResult:
        """Return the calibration of one set of responses."""
        return await self._fit("/irt/calibrate", request, IrtCalibrateResult, on_progress)
