"""The population's parameters given more learners than the sampler took.

With learners' lines integrated out the likelihood of the population's six parameters is that of independent normal
vectors y ~ N(Z mu, Z Sigma Z' + diag(v + sigma^2)), cheap for any number of learners. The posterior is drawn from by
adaptive importance sampling (Cappe et al., 2008), started from the draws of a sample of the learners; model and priors
are those of r-brms-plumber.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from irt_analytics.errors import RefusedError
from irt_analytics.jobs._growth_posterior import Population

Floats = npt.NDArray[np.float64]

#: Draws of the rounds of importance sampling that adapt the proposal, and of those after them, until one is enough.
ADAPTING_DRAWS = (400, 400, 400)
LAST_DRAWS = (1_000, 2_000, 4_000, 8_000)
#: Effective draws of a round that are enough: a spread near 0 has a posterior whose tail few of them reach.
EFFECTIVE_DRAWS = 100.0

_T_DEGREES = 5.0  # heavier tails than the posterior's
_INFLATION = 1.3  # of the proposal's covariance


@dataclass(frozen=True, eq=False)
class _Data:
    """Weekly abilities as `learner_lines` takes them, and the mean week of them all."""

    weeks: Floats
    y: Floats
    v: Floats
    mean_week: float


def update_population(
    draws: Population, weeks: Floats, y: Floats, v: Floats, *, fitted: int, seed: int, size: int
) -> tuple[Population, float]:
    """Draws of the population given these learners.

    Args:
        draws: given a sample of `fitted` of them.
        weeks: as `learner_lines` takes them.
        y: likewise.
        v: likewise.
        fitted: learners behind `draws`.
        seed: of the random numbers.
        size: draws to return.

    Returns:
        The draws, and the effective number of those that they are taken from.

    Raises:
        RefusedError: importance sampling does not find the posterior.
    """
    seen = np.isfinite(v)
    data = _Data(weeks, y, v, float(np.broadcast_to(weeks, y.shape)[seen].mean()))
    rng = np.random.default_rng(seed)
    pilot = _to_line(draws, data.mean_week)

    def energy(point: Floats) -> float:
        return -_log_posterior(point, data)

    centre = np.asarray(minimize(energy, pilot.mean(axis=0), method="BFGS").x)
    covariance = np.cov(pilot.T) * min(1.0, fitted / len(y))
    for number in (*ADAPTING_DRAWS, *LAST_DRAWS):
        points, log_density = _propose(rng, centre, _INFLATION * covariance, number)
        log_weight = np.array([_log_posterior(point, data) for point in points]) - log_density
        weight = np.exp(log_weight - logsumexp(log_weight))
        # Where few points have all the weight, the wider of two estimates of the spread is the safer one.
        effective = 1.0 / float((weight**2).sum())
        centre = weight @ points
        found = (weight[:, None] * (points - centre)).T @ (points - centre)
        covariance = found if effective > 10 * len(centre) else 0.5 * (found + covariance)
        if number in LAST_DRAWS and effective >= EFFECTIVE_DRAWS:
            break
    if effective < EFFECTIVE_DRAWS:
        raise RefusedError(
            f"the population's growth given {len(y)} learners is known by {effective:.0f} effective draws; expected at "
            f"least {EFFECTIVE_DRAWS:.0f}: weekly abilities are not as the model has them"
        )
    grid = (np.arange(size) + rng.random()) / size
    chosen = np.searchsorted(np.cumsum(weight), grid).clip(max=len(weight) - 1)
    return _from_line(points[chosen], data.mean_week), effective


def _to_line(draws: Population, mean_week: float) -> Floats:
    """Parameters without bounds, shape (draws, 6); the intercept at the mean week, where brms has its prior."""
    return np.column_stack(
        [
            draws.intercept + mean_week * draws.slope,
            draws.slope,
            np.log(draws.sd_intercept),
            np.log(draws.sd_slope),
            np.arctanh(draws.correlation),
            np.log(draws.sigma),
        ]
    )


def _from_line(points: Floats, mean_week: float) -> Population:
    return Population(
        intercept=points[:, 0] - mean_week * points[:, 1],
        slope=points[:, 1],
        sd_intercept=np.exp(points[:, 2]),
        sd_slope=np.exp(points[:, 3]),
        correlation=np.tanh(points[:, 4]),
        sigma=np.exp(points[:, 5]),
    )


def _propose(rng: np.random.Generator, centre: Floats, covariance: Floats, number: int) -> tuple[Floats, Floats]:
    """Points from a multivariate t distribution, and the logarithm of its density up to a constant."""
    root = np.linalg.cholesky(covariance)
    z = rng.normal(size=(number, len(centre))) / np.sqrt(rng.chisquare(_T_DEGREES, (number, 1)) / _T_DEGREES)
    log_density = -0.5 * (_T_DEGREES + len(centre)) * np.log1p((z**2).sum(axis=1) / _T_DEGREES)
    return centre + z @ root.T, log_density


def _log_posterior(point: Floats, data: _Data) -> float:
    """Up to a constant, for parameters without bounds (the logarithm of the Jacobian is part of it)."""
    centred, slope, log_sd0, log_sd1, z, log_sigma = point
    sd0, sd1, rho, sigma = np.exp(log_sd0), np.exp(log_sd1), np.tanh(z), np.exp(log_sigma)
    log_prior = (
        -0.5 * centred**2
        - 0.5 * (slope / 0.5) ** 2
        - np.log1p(sd0**2)
        + log_sd0
        - np.log1p(sd1**2)
        + log_sd1
        + np.log1p(-(rho**2))
        - 0.5 * (sigma / 0.5) ** 2
        + log_sigma
    )
    residual = data.y - (centred + slope * (data.weeks - data.mean_week))
    weight = 1.0 / (data.v + sigma**2)
    weighted = weight * residual
    basis = np.stack([np.ones_like(data.weeks), data.weeks, data.weeks**2], axis=-1)
    a, b, c = (weight @ basis).T
    r0, r1 = (weighted @ basis[:, :2]).T
    s00, s01, s11 = sd0**2, rho * sd0 * sd1, sd1**2
    d = s00 * s11 * (1.0 - rho**2)
    determinant = 1.0 + s00 * a + 2.0 * s01 * b + s11 * c + d * (a * c - b**2)
    explained = ((s00 + d * c) * r0**2 + 2.0 * (s01 - d * b) * r0 * r1 + (s11 + d * a) * r1**2) / determinant
    log_weight = np.log(weight, out=np.zeros_like(weight), where=weight > 0.0)
    # A dot product by BLAS would wait for its threads most of the time, and its sum depends on their number.
    squares = np.einsum("nt,nt->", weighted, residual)
    log_likelihood = 0.5 * (log_weight.sum() - np.log(determinant).sum() - squares + explained.sum())
    value = float(log_prior + log_likelihood)
    return value if np.isfinite(value) else -np.inf
