"""Yen's Q3 against correlations of a dense matrix, and pairs that hang together or do not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt import local_dependence as module
from irt_analytics.irt.local_dependence import local_dependence

Simulate = Callable[..., tuple[Responses, pd.DataFrame, NDArray[np.float64]]]


def test_q3_is_the_correlation_of_residuals(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the learners who answered both items, whatever part of the items is in memory at a time."""
    responses, items, _ = simulate(400, 12, 7, seed=4)
    theta = estimate_abilities(responses, items, prior=(0.0, 1.0))["theta"].to_numpy()
    monkeypatch.setattr(module, "_CELLS", 60)  # five items at a time
    found = local_dependence(responses, items, theta, least_joint=100, least_q3=-np.inf)

    student = np.repeat(np.arange(400), np.diff(responses.indptr))
    item = responses.answers >> 1
    residuals = np.full((400, 12), np.nan)
    p = expit(items["a"].to_numpy()[item] * (theta[student] - items["b"].to_numpy()[item]))
    residuals[student, item] = (responses.answers & 1) - p
    expected = pd.DataFrame(residuals).corr(min_periods=100).to_numpy()
    answered = np.isfinite(residuals).astype(int)
    pairs = np.triu_indices(12, 1)
    assert found.n_pairs == len(found.pairs) == np.isfinite(expected[pairs]).sum() > 50
    assert found.mean == pytest.approx(np.nanmean(expected[pairs]))
    first, second = found.pairs["item_1"].to_numpy(), found.pairs["item_2"].to_numpy()
    np.testing.assert_allclose(found.pairs["q3"], expected[first, second])
    np.testing.assert_array_equal(found.pairs["n"], (answered.T @ answered)[first, second])
    assert found.pairs["q3_centred"].is_monotonic_decreasing


def test_items_of_one_text_are_found_and_others_are_not() -> None:
    """Two questions on one passage count twice as evidence; the pair is named, and no innocent one with it."""
    rng = np.random.default_rng(5)
    theta, passage = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1))
    items = pd.DataFrame({"item_id": np.arange(40), "a": 1.2, "b": rng.normal(0.0, 0.7, 40)})
    eta = 1.2 * (theta - items["b"].to_numpy())
    eta[:, :2] += 2.5 * passage
    student, item = np.nonzero(rng.random(eta.shape) < 0.5)
    responses = Responses.from_long(student, item, rng.random(len(item)) < expit(eta[student, item]))
    theta_hat = estimate_abilities(responses, items, prior=(0.0, 1.0))["theta"]
    found = local_dependence(responses, items, theta_hat)
    assert found.pairs[["item_1", "item_2"]].to_numpy().tolist() == [[0, 1]]
    assert found.pairs["p_adjusted"][0] < 1e-6
    assert found.n_pairs == 40 * 39 / 2


def test_without_joint_answers_there_is_no_pair() -> None:
    """Two tests of different learners: no pair, no mean, no error."""
    responses = Responses.from_long(["p", "q"], ["i", "j"], [1, 0])
    items = pd.DataFrame({"item_id": ["i", "j"], "a": 1.0, "b": 0.0})
    found = local_dependence(responses, items, [0.0, 0.0], least_joint=1)
    assert found.pairs.empty
    assert found.n_pairs == 0
    assert np.isnan(found.mean)
