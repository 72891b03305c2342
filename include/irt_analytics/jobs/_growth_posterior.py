"""Growth of single learners given draws of the population: Gaussian for every draw, a mixture over all of them.

A learner's abilities of weeks x follow y ~ N(Z u, diag(v + sigma^2)), Z = [1, x], with the line u = (intercept, slope)
~ N(mu, Sigma). Given mu, Sigma and sigma its posterior is N(mu + V Z'W (y - Z mu), V) with W = diag(1 / (v + sigma^2))
and V = (Sigma^-1 + Z'WZ)^-1 (Laird and Ware, 1982, section 3); V is computed as (I + Sigma Z'WZ)^-1 Sigma, which also
holds where Sigma is singular.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]

#: Learners worked through at a time: what is kept of a learner are some numbers a draw.
CHUNK = 2_000

_QUANTILE_STEPS = 6


@dataclass(frozen=True, eq=False)
class Population:
    """Draws of the population's parameters, arrays of shape (draws,): abilities in logits, slopes a week."""

    intercept: Floats
    slope: Floats
    sd_intercept: Floats
    sd_slope: Floats
    correlation: Floats
    sigma: Floats

    def thinned(self, most: int) -> "Population":
        """At most so many of the draws, evenly spaced."""
        n = len(self.sigma)
        kept = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))
        return Population(**{name: values[kept] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Lines:
    """Posterior of learners' lines, arrays of shape (draws, learners): means, variances and covariance."""

    intercept: Floats
    slope: Floats
    var_intercept: Floats
    var_slope: Floats
    covariance: Floats

    def at(self, week: Floats | float) -> "Mixture":
        """Ability at a week, one for all learners or one each, on the learner's line."""
        return Mixture(
            self.intercept + week * self.slope,
            np.sqrt(self.var_intercept + week * (2.0 * self.covariance + week * self.var_slope)),
        )

    def slopes(self) -> "Mixture":
        """Slope a week."""
        return Mixture(self.slope, np.sqrt(self.var_slope))


@dataclass(frozen=True, eq=False)
class Mixture:
    """Of every learner a mixture of normal distributions, a component a draw: means and sds (draws, learners)."""

    means: Floats
    sds: Floats

    def mean(self) -> Floats:
        """Return the mean of every learner."""
        return np.asarray(self.means.mean(axis=0))

    def sd(self) -> Floats:
        """Return the sd of every learner: within draws and between them."""
        return np.asarray(np.sqrt((self.sds**2).mean(axis=0) + self.means.var(axis=0)))

    def at_least(self, threshold: Floats | float) -> Floats:
        """Probability of every learner of a value of at least `threshold`."""
        return np.asarray(ndtr((self.means - threshold) / self.sds).mean(axis=0))

    def quantile(self, probability: float) -> Floats:
        """Return the quantile of every learner, by Newton's method from that of a normal of the same mean and sd."""
        sd = self.sd()
        value = self.mean() + float(ndtri(probability)) * sd
        for _ in range(_QUANTILE_STEPS):
            z = (value - self.means) / self.sds
            density = (np.exp(-0.5 * z**2) / (np.sqrt(2.0 * np.pi) * self.sds)).mean(axis=0)
            step = np.clip((ndtr(z).mean(axis=0) - probability) / density, -0.5 * sd, 0.5 * sd)
            value = value - step
            if np.all(np.abs(step) <= 1e-9 * sd):
                break
        return value


def learner_lines(population: Population, weeks: Floats, y: Floats, v: Floats) -> Lines:
    """Posterior of learners' lines for every draw of the population.

    Args:
        population: draws.
        weeks: of shape (weeks,), on the axis that the population was sampled on.
        y: abilities of learners by week, of shape (learners, weeks); any finite number where there is none.
        v: their variances; infinite where there is no ability.
    """
    weight = 1.0 / (v + population.sigma[:, None, None] ** 2)
    moments = weight @ np.stack([np.ones_like(weeks), weeks, weeks**2], axis=-1)
    a, b, c = moments[..., 0], moments[..., 1], moments[..., 2]
    sums = (weight * y) @ np.stack([np.ones_like(weeks), weeks], axis=-1)

    mean0, mean1 = population.intercept[:, None], population.slope[:, None]
    s00, s11 = population.sd_intercept[:, None] ** 2, population.sd_slope[:, None] ** 2
    s01 = population.correlation[:, None] * np.sqrt(s00 * s11)
    # det(Sigma) and det(I + Sigma Z'WZ), both sums of terms that are not negative.
    d = s00 * s11 * (1.0 - population.correlation[:, None] ** 2)
    determinant = 1.0 + s00 * a + 2.0 * s01 * b + s11 * c + d * (a * c - b**2)
    v00, v01, v11 = (s00 + d * c) / determinant, (s01 - d * b) / determinant, (s11 + d * a) / determinant
    r0 = sums[..., 0] - a * mean0 - b * mean1
    r1 = sums[..., 1] - b * mean0 - c * mean1
    return Lines(mean0 + v00 * r0 + v01 * r1, mean1 + v01 * r0 + v11 * r1, v00, v11, v01)


def chunks(learners: int) -> Iterator[slice]:
    """Slices that cover so many learners."""
    for first in range(0, learners, CHUNK):
        yield slice(first, min(first + CHUNK, learners))
