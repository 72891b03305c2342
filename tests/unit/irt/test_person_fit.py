"""lz* by its definition, and how often it alarms."""

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from irt_analytics.irt import Responses
from irt_analytics.irt.person_fit import person_fit


def draw(n_students: int, seed: int) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Right answers of learners to 30 items of known parameters."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame({"item_id": np.arange(30), "a": rng.lognormal(0.0, 0.3, 30), "b": rng.normal(0.0, 1.0, 30)})
    theta = rng.normal(size=(n_students, 1))
    return rng.random((n_students, 30)) < expit(items["a"].to_numpy() * (theta - items["b"].to_numpy())), items


def as_responses(right: NDArray[np.bool_]) -> Responses:
    student, item = np.indices(right.shape)
    return Responses.from_long(student.ravel(), item.ravel(), right.ravel())


@pytest.mark.parametrize("method", ["WLE", "MAP"])
def test_one_learner_in_twenty_alarms(method: Literal["WLE", "MAP"]) -> None:
    """lz alarms half as often as it says because theta adapts to the answers; lz* must not."""
    right, items = draw(6000, seed=1)
    fit = person_fit(as_responses(right), items, method, prior=(0.0, 1.0))
    assert 0.03 <= np.mean(fit["p"] < 0.05) <= 0.07
    assert np.mean(fit["lz"] < -1.645) < 0.04


def test_careless_learners_alarm() -> None:
    """A third of the answers at random by learners of some ability: most of them are found."""
    right, items = draw(2000, seed=2)
    able = right.mean(axis=1) > 0.6
    rng = np.random.default_rng(3)
    careless = rng.random(right.shape) < 1 / 3
    right = np.where(careless & able[:, None], rng.random(right.shape) < 0.5, right)
    fit = person_fit(as_responses(right), items)
    assert np.mean(fit["p"][able] < 0.05) > 0.35
    assert np.mean(fit["p"][~able] < 0.05) < 0.07


def test_lz_star_by_hand() -> None:
    """Under Rasch with r = 1, W is decorrelated from the number right: regress log(P / Q) = theta - b on 1."""
    b = np.array([-1.5, -0.5, 0.0, 0.8, 1.6])
    right = np.array([0, 1, 1, 0, 1])
    items = pd.DataFrame({"item_id": np.arange(5), "a": 1.0, "b": b})
    fit = person_fit(as_responses(right[None, :].astype(bool)), items, "MAP", prior=(0.5, 1.2))
    theta = float(fit["theta"].iloc[0])
    p = expit(theta - b)
    assert (right - p).sum() == pytest.approx((theta - 0.5) / 1.2**2)  # the mode's own equation
    w, weight = theta - b, p * (1 - p)
    q = (weight * w).sum() / weight.sum()
    w_star = w - q
    # W + q r_0, with r_0 = -sum(x - P), is the sum of (x - P)(w - q).
    expected = ((right - p) * w_star).sum() / np.sqrt((weight * w_star**2).sum())
    assert fit["lz_star"].iloc[0] == pytest.approx(expected)
    assert fit["lz"].iloc[0] == pytest.approx(((right - p) * w).sum() / np.sqrt((weight * w**2).sum()))


def test_one_answer_says_nothing() -> None:
    """NaN instead of the certainty of a division by nearly nothing."""
    items = pd.DataFrame({"item_id": ["i"], "a": [1.0], "b": [0.0]})
    assert person_fit(Responses.from_long(["p"], ["i"], [1]), items)["lz_star"].isna().all()
