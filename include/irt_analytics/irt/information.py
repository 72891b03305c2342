"""Fisher information of answers about theta, and the reliability that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from irt_analytics.irt.quadrature import Quadrature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def item_information(theta: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Floats:
    """Fisher information of an answer about theta under the 3PL model (Birnbaum, 1968; Lord, 1980, eq. 5-9).

    Args:
        theta: abilities.
        a: discriminations, logistic metric (D = 1).
        b: difficulties, in units of theta.
        c: lower asymptotes, in [0, 1).

    Returns:
        a^2 (Q / P) ((P - c) / (1 - c))^2 in the shape the arguments broadcast to, in units of 1 / theta^2.
    """
    a, b, c = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), np.asarray(c, dtype=np.float64)
    core = expit(a * (np.asarray(theta, dtype=np.float64) - b))  # (P - c) / (1 - c)
    p = c + (1 - c) * core
    return np.asarray((a * core) ** 2 * (1 - p) / p)


def test_information(theta: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Floats:
    """Information of a test: the sum over its items (Birnbaum, 1968).

    Args:
        theta: abilities, any shape.
        a: discriminations of the items, shape (n_items,).
        b: their difficulties.
        c: their lower asymptotes.

    Returns:
        In the shape of theta, in units of 1 / theta^2.
    """
    abilities = np.asarray(theta, dtype=np.float64)
    information: Floats = item_information(abilities[..., None], a, b, c).sum(axis=-1)
    return information


def conditional_reliability(information: ArrayLike, latent_sd: float) -> Floats:
    """Share of the variance of theta that a test of this information resolves at an ability.

    sigma^2 / (sigma^2 + 1 / I(theta)), which is 1 / (1 + 1 / I(theta)) on a scale with sd 1 (Nicewander, 2018, eq. 5).

    Args:
        information: test information, any shape, at least 0.
        latent_sd: sd of theta over the learners, sigma.

    Returns:
        From 0 (nothing is known) to under 1, in the shape of `information`.

    Raises:
        ValueError: latent_sd is not positive, or an information is negative.
    """
    values = np.asarray(information, dtype=np.float64)
    if not 0.0 < latent_sd < np.inf or not (values >= 0.0).all():
        raise ValueError(f"latent_sd must be positive and information at least 0, got {latent_sd} and {values}")
    return np.asarray(values / (values + 1.0 / latent_sd**2))


def marginal_reliability(a: ArrayLike, b: ArrayLike, c: ArrayLike, prior: tuple[float, float]) -> float:
    """Mean of the conditional reliability over theta ~ N(mean, sd^2): the reliability to expect of a test.

    Args:
        a: discriminations of the items, shape (n_items,).
        b: their difficulties.
        c: their lower asymptotes.
        prior: mean and sd of theta.
    """
    mean, sd = prior
    theta = Quadrature(n_nodes=121).nodes * sd + mean
    weights = norm.pdf(theta, mean, sd)
    reliability = conditional_reliability(test_information(theta, a, b, c), sd)
    return float(np.average(reliability, weights=weights))


def empirical_reliability(theta: ArrayLike, se: ArrayLike) -> float:
    """Reliability of EAP estimates: their variance over itself plus their mean squared error (Bechger et al., 2003).

    Args:
        theta: EAP of the learners, shape (n,), two or more.
        se: their posterior sds.
    """
    between, within = float(np.var(np.asarray(theta), ddof=1)), float(np.mean(np.asarray(se) ** 2))
    return between / (between + within)
