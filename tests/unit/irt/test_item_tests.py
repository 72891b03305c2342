"""Tests of items against R's mirt, sums over all patterns, and answers that follow the model or do not."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from irt_analytics.irt import Responses
from irt_analytics.irt.calibrate import Model, calibrate
from irt_analytics.irt.item_tests import curve_fit, score_fit

Answers = Callable[[str], Responses]
Reference = Callable[..., pd.DataFrame]


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize("dataset", ["lsat6", "lsat7", "sat12"])
def test_s_x2_is_that_of_mirt(answers: Answers, reference: Reference, dataset: str, model: Model) -> None:
    """Otherwise an item that mirt's users reject passes here, or the reverse."""
    where = {"dataset": dataset, "model": model}
    latent = reference("mirt_fit.csv", **where).iloc[0]
    prior = float(latent["latent_mean"]), float(np.sqrt(latent["latent_var"]))
    found = score_fit(answers(dataset), reference("mirt_item_params.csv", **where), model, prior).set_index("item_id")
    expected = reference("mirt_item_fit.csv", **where).set_index("item_id")
    found = found.loc[expected.index]
    np.testing.assert_array_equal(found["df"], expected["df.S_X2"])
    np.testing.assert_allclose(found["s_x2"], expected["S_X2"], atol=0.01)
    np.testing.assert_allclose(found["p"], expected["p.S_X2"], atol=0.01)


def test_s_x2_says_why_it_is_missing() -> None:
    """Sum scores of learners who met different items are no measure; a number here would be taken for one."""
    responses = Responses.from_long(["p", "p", "q", "q"], ["i", "j", "j", "k"], [1, 0, 1, 0])
    items = pd.DataFrame({"item_id": ["i", "j", "k"], "a": 1.0, "b": 0.0})
    found = score_fit(responses, items, "2PL", (0.0, 1.0))
    assert found["s_x2"].isna().all()
    assert found["p"].isna().all()
    assert set(found["reason"]) == {"no learner answered every item"}


def test_scores_against_sums_over_all_patterns() -> None:
    """Four items, twelve learners: score and information of the steps from the definition, pattern by pattern."""
    items = pd.DataFrame({"item_id": list("ijkl"), "a": [0.8, 1.0, 1.7, 1.2], "b": [-0.5, 0.0, 0.9, 0.4]})
    patterns = np.array(list(product((0, 1), repeat=4)))[[0, 1, 2, 4, 6, 8, 9, 10, 12, 13, 14, 15]]
    rows, columns = np.indices(patterns.shape)
    responses = Responses.from_long(rows.ravel(), items["item_id"].to_numpy()[columns.ravel()], patterns.ravel())
    fit = curve_fit(responses, items, "2PL", (0.0, 1.0), intervals=3)

    theta = np.linspace(-6, 6, 61)
    weight = np.exp(-(theta**2) / 2)
    curves = expit(items["a"].to_numpy()[:, None] * (theta - items["b"].to_numpy()[:, None]))

    def joint(pattern: tuple[int, ...]) -> NDArray[np.float64]:
        of_answers = [p if x else 1 - p for x, p in zip(pattern, curves, strict=True)]
        product_of_answers: NDArray[np.float64] = weight / weight.sum() * np.prod(of_answers, axis=0)
        return product_of_answers

    posterior = np.array([joint(tuple(pattern)) / joint(tuple(pattern)).sum() for pattern in patterns])
    below = (np.cumsum(posterior.sum(axis=0)) - 0.5 * posterior.sum(axis=0)) / len(patterns)
    steps = [np.minimum((below * 3).astype(int), 2) == b for b in (1, 2)]
    for item in range(4):
        functions = np.array([theta, np.ones(61), *steps])
        score, information = np.zeros(4), np.zeros((4, 4))
        for pattern in patterns:
            both = [tuple(x if place == item else other for place, other in enumerate(pattern)) for x in (0, 1)]
            p = joint(both[1]).sum() / sum(joint(one).sum() for one in both)
            u = [functions @ (joint(one) / joint(one).sum() * (one[item] - curves[item])) for one in both]
            score += u[pattern[item]]
            information += (1 - p) * np.outer(u[0], u[0]) + p * np.outer(u[1], u[1])
        projection = np.linalg.solve(information[:2, :2], information[:2, 2:])
        z = score[2:] - projection.T @ score[:2]
        expected = z @ np.linalg.solve(information[2:, 2:] - information[2:, :2] @ projection, z)
        assert fit.tests["statistic"][item] == pytest.approx(expected, rel=1e-6)
        assert fit.tests["df"][item] == 2
    shares = fit.curves[fit.curves["item_id"] == "k"]
    assert (shares["n"] * shares["observed"]).sum() == pytest.approx(patterns[:, 2].sum())
    assert list(product(items["item_id"], range(3))) == list(
        fit.curves[["item_id", "interval"]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_good_items_pass(model: Model) -> None:
    """5 % of good items are rejected, not 10 %, where each learner answers 30 of 250."""
    p = np.array([])
    for seed in range(6):
        responses, _ = sparse_answers(model, n_students=2000, n_items=250, answers_each=30, seed=seed)
        p = np.append(p, curve_fit(responses, calibrate(responses, model, standard_errors=False).items).tests["p"])
    assert len(p) == 1500
    assert 0.03 <= np.mean(p < 0.05) <= 0.07


def test_misread_items_are_found() -> None:
    """An item that the ablest third overthink is reported, and how far the answers lie from its curve."""
    responses, misread = sparse_answers("2PL", n_students=4000, n_items=60, answers_each=30, seed=1, n_misread=5)
    fit = curve_fit(responses, calibrate(responses, "2PL", standard_errors=False).items)
    tests = fit.tests.set_index("item_id")
    assert (tests.loc[misread, "p_adjusted"] < 0.05).mean() >= 0.8
    assert (tests.drop(misread)["p_adjusted"] < 0.05).mean() <= 0.1
    assert tests.loc[misread, "rmsd"].min() > tests.drop(misread)["rmsd"].max()
    top = fit.curves[(fit.curves["interval"] == 4) & fit.curves["item_id"].isin(misread)]
    assert (top["observed"] < top["expected"] - 0.02).all()


def sparse_answers(
    model: Model, *, n_students: int, n_items: int, answers_each: int, seed: int, n_misread: int = 0
) -> tuple[Responses, list[int]]:
    """Answers to random items; to those returned, easy ones, half are right where theta > 0.5."""
    rng = np.random.default_rng(seed)
    a = rng.lognormal(0.0, 0.3, n_items) if model == "2PL" else np.ones(n_items)
    b = rng.normal(0.0, 1.0, n_items)
    misread = np.argsort(np.abs(b + 1.0))[:n_misread]
    answered = np.argsort(rng.random((n_students, n_items)), axis=1)[:, :answers_each]
    theta = rng.normal(size=(n_students, 1))
    p = expit(a[answered] * (theta - b[answered]))
    p = np.where(np.isin(answered, misread) & (theta > 0.5), 0.5, p)
    student = np.repeat(np.arange(n_students), answers_each)
    return Responses.from_long(student, answered.ravel(), rng.random(p.size) < p.ravel()), list(misread)
