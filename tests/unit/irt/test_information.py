"""Reliability that follows from information."""

import numpy as np
import pytest
from scipy.stats import norm

from irt_analytics.irt import information


def test_conditional_reliability_is_the_share_of_variance_resolved() -> None:
    """Error variance 1/4 on a scale of variance 1 leaves 4/5; on one of sd 2 it leaves 16/17. No item: nothing."""
    np.testing.assert_allclose(information.conditional_reliability([4.0, 0.0], 1.0), [0.8, 0.0])
    assert information.conditional_reliability(4.0, 2.0) == pytest.approx(16 / 17)
    with pytest.raises(ValueError, match="latent_sd must be positive"):
        information.conditional_reliability(4.0, 0.0)


def test_a_test_is_as_reliable_as_estimates_of_its_scores_repeat() -> None:
    """The reliability told before a test is given is the squared correlation of estimates with theta after it."""
    rng = np.random.default_rng(3)
    a, b = np.full(60, 1.0), rng.normal(0.0, 1.0, 60)
    theta = rng.normal(0.0, 1.0, 4000)
    p = 1 / (1 + np.exp(-a * (theta[:, None] - b)))
    right = rng.random(p.shape) < p
    grid = np.linspace(-5, 5, 101)
    curves = 1 / (1 + np.exp(-a[:, None] * (grid - b[:, None])))
    log_posterior = right @ np.log(curves) + ~right @ np.log(1 - curves) + norm.logpdf(grid)
    weights = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    eap = weights @ grid
    sd = np.sqrt(weights @ grid**2 - eap**2)
    expected = np.corrcoef(eap, theta)[0, 1] ** 2
    assert information.marginal_reliability(a, b, np.zeros(60), (0.0, 1.0)) == pytest.approx(expected, abs=0.01)
    assert information.empirical_reliability(eap, sd) == pytest.approx(expected, abs=0.01)
