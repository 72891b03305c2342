"""Abilities of learners: definitions checked by independent sums, and learners at the edges of the data."""

from itertools import product
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.abilities import AbilityMethod

BANK = pd.DataFrame(
    {
        "item_id": [f"q{i}" for i in range(8)],
        "a": [0.7, 1.0, 1.3, 0.9, 1.8, 2.2, 0.5, 1.1],
        "b": [-2.0, -1.2, -0.5, 0.0, 0.3, 0.9, 1.5, 2.4],
        "c": [0.0, 0.2, 0.1, 0.25, 0.0, 0.15, 0.2, 0.05],
    }
)
WITHOUT_GUESSING = BANK.assign(c=0.0)
BANKS = pytest.mark.parametrize("bank", [WITHOUT_GUESSING, BANK], ids=["2PL", "3PL"])


def one_learner(answers: list[int], repeats: int = 1) -> Responses:
    """A learner's answers to the bank, or to `repeats` copies of it."""
    n = len(answers) * repeats
    return Responses.from_long(
        ["s"] * n, [f"q{i % 8}-{i // 8}" if repeats > 1 else f"q{i}" for i in range(n)], answers * repeats
    )


def curves(bank: pd.DataFrame, theta: float) -> NDArray[np.float64]:
    a, b, c = (bank[name].to_numpy() for name in ("a", "b", "c"))
    p: NDArray[np.float64] = c + (1.0 - c) / (1.0 + np.exp(-a * (theta - b)))
    return p


def log_likelihood(bank: pd.DataFrame, answers: list[int], theta: float) -> float:
    p = curves(bank, theta)
    return float(np.log(np.where(answers, p, 1.0 - p)).sum())


def information(bank: pd.DataFrame, theta: float) -> float:
    """Fisher information from its definition, by differences."""
    h = 1e-5
    p, slope = curves(bank, theta), (curves(bank, theta + h) - curves(bank, theta - h)) / (2 * h)
    return float((slope**2 / (p * (1.0 - p))).sum())


MIXED = [1, 1, 0, 1, 1, 0, 0, 1]


@BANKS
@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.8, 0.4), (-1.5, 2.0)])
def test_eap_is_the_posterior_mean(bank: pd.DataFrame, prior: tuple[float, float]) -> None:
    theta = np.linspace(-12, 12, 12_001)
    log_posterior = [log_likelihood(bank, MIXED, t) - 0.5 * ((t - prior[0]) / prior[1]) ** 2 for t in theta]
    weight = np.exp(log_posterior - np.max(log_posterior))
    mean = float((weight * theta).sum() / weight.sum())
    sd = float(np.sqrt((weight * (theta - mean) ** 2).sum() / weight.sum()))
    own = estimate_abilities(one_learner(MIXED), bank, method="EAP", prior=prior).iloc[0]
    assert own["theta"] == pytest.approx(mean, abs=1e-6)
    assert own["se"] == pytest.approx(sd, abs=1e-6)
    assert own["n_responses"] == 8


def test_eap_of_a_posterior_narrower_than_the_grid() -> None:
    """A learner with thousands of answers, or one whose topic prior is tight, has a sum that a fixed grid misses."""
    repeats = 400
    copies = pd.concat([BANK.assign(item_id=BANK["item_id"] + f"-{k}") for k in range(repeats)], ignore_index=True)
    own = estimate_abilities(one_learner(MIXED, repeats), copies, method="EAP", prior=(0.0, 1.0)).iloc[0]
    peak = minimize_scalar(lambda t: -log_likelihood(BANK, MIXED, t), bounds=(-4, 4), method="bounded").x
    theta = peak + np.linspace(-0.4, 0.4, 4_001)
    log_posterior = np.array([repeats * log_likelihood(BANK, MIXED, t) - 0.5 * t**2 for t in theta])
    weight = np.exp(log_posterior - log_posterior.max())
    mean = float((weight * theta).sum() / weight.sum())
    sd = float(np.sqrt((weight * (theta - mean) ** 2).sum() / weight.sum()))
    assert sd < 0.04
    assert own["theta"] == pytest.approx(mean, abs=1e-6)
    assert own["se"] == pytest.approx(sd, rel=1e-4)


@BANKS
def test_map_is_the_posterior_mode(bank: pd.DataFrame) -> None:
    def minus_log_posterior(theta: float) -> float:
        return 0.5 * ((theta - 0.5) / 0.7) ** 2 - log_likelihood(bank, MIXED, theta)

    mode = minimize_scalar(minus_log_posterior, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    h = 1e-4
    curvature = (minus_log_posterior(mode + h) - 2 * minus_log_posterior(mode) + minus_log_posterior(mode - h)) / h**2
    own = estimate_abilities(one_learner(MIXED), bank, method="MAP", prior=(0.5, 0.7)).iloc[0]
    assert own["theta"] == pytest.approx(mode, abs=1e-6)
    assert own["se"] == pytest.approx(curvature**-0.5, rel=1e-4)


@BANKS
@pytest.mark.parametrize("answers", [MIXED, [1] * 8, [0] * 8, [0, 0, 0, 0, 0, 0, 1, 0]], ids=str)
def test_wle_solves_warms_equation(bank: pd.DataFrame, answers: list[int]) -> None:
    """Score + J / (2 I) = 0, all derivatives taken by differences."""
    h = 1e-4

    def equation(theta: float) -> float:
        score = (log_likelihood(bank, answers, theta + h) - log_likelihood(bank, answers, theta - h)) / (2 * h)
        p, before, after = curves(bank, theta), curves(bank, theta - h), curves(bank, theta + h)
        first, second = (after - before) / (2 * h), (after - 2 * p + before) / h**2
        bias = (first * second / (p * (1 - p))).sum() / (2 * information(bank, theta))
        return score + float(bias)

    own = estimate_abilities(one_learner(answers), bank, method="WLE").iloc[0]
    root = brentq(equation, own["theta"] - 0.3, own["theta"] + 0.3)
    assert own["theta"] == pytest.approx(root, abs=1e-4)
    assert own["se"] == pytest.approx(information(bank, own["theta"]) ** -0.5, rel=1e-4)


@pytest.mark.parametrize("method", ["WLE", "MAP"])
def test_few_answers_with_guessing_end_at_the_root(method: AbilityMethod) -> None:
    """All 32 patterns of five 3PL items: one learner in fifty would be up to half a logit off, and growth with them."""
    rng, banks, n, c = np.random.default_rng(7), 120, 5, 0.2
    a, b = rng.lognormal(0, 0.5, (banks, n)), rng.normal(0, 1, (banks, n))
    patterns = np.array(list(product([0, 1], repeat=n)))
    items = pd.DataFrame({"item_id": np.arange(banks * n), "a": a.ravel(), "b": b.ravel(), "c": c})
    item = np.arange(banks * n).reshape(banks, 1, n).repeat(len(patterns), axis=1)
    learner = np.arange(banks * len(patterns)).repeat(n)
    responses = Responses.from_long(learner, item.ravel(), np.tile(patterns.ravel(), banks))
    own = estimate_abilities(responses, items, method=method, prior=(0.0, 3.0))["theta"].to_numpy()

    def equation(theta: NDArray[np.float64], a: Any, b: Any, x: Any) -> NDArray[np.float64]:
        s = 1 / (1 + np.exp(-a * (theta[..., None] - b)))
        p, first = c + (1 - c) * s, a * (1 - c) * s * (1 - s)
        weight, second = a * s / p, a * (1 - 2 * s) * first  # weight: P' / (P Q)
        score = (weight * (x - p)).sum(axis=-1)
        if method == "MAP":
            return np.asarray(score - theta / 9.0)
        return np.asarray(score + (weight * second).sum(axis=-1) / (2 * (weight * first).sum(axis=-1)))

    grid = np.linspace(-12, 12, 961)
    off = []
    for (bank, row), theta in zip(product(range(banks), range(len(patterns))), own, strict=True):
        known = a[bank], b[bank], patterns[row]
        falls = np.flatnonzero(np.diff(np.sign(equation(grid, *known))) < 0)
        roots = [brentq(lambda t: float(equation(np.array(t), *known)), grid[i], grid[i + 1]) for i in falls]  # noqa: B023
        off.append(np.abs(np.array(roots) - theta).min())
    assert np.max(off) < 1e-8


def test_wle_of_a_single_answer_by_hand() -> None:
    """One right answer to an item with a = 1, b = 0: 1 - P + (1 - 2 P) / 2 = 0, so P = 3 / 4 and theta = ln 3."""
    items = pd.DataFrame({"item_id": ["i"], "a": [1.0], "b": [0.0]})
    own = estimate_abilities(Responses.from_long(["s"], ["i"], [1]), items, method="WLE").iloc[0]
    assert own["theta"] == pytest.approx(np.log(3.0))
    assert own["se"] == pytest.approx((3 / 16) ** -0.5)


def test_wle_is_less_biased_than_the_prior_pulls(simulate: Any) -> None:
    """Growth is measured by it: its mean error must not depend on where the learner stands."""
    _, bank, _ = simulate(1, 40, 1, seed=3)
    rng = np.random.default_rng(4)
    for truth in (-1.5, 1.5):
        p = curves(bank, truth)
        n = 2_000
        correct = rng.random((n, len(bank))) < p
        responses = Responses.from_long(
            np.repeat(np.arange(n), len(bank)), np.tile(bank["item_id"], n), correct.ravel()
        )
        own = estimate_abilities(responses, bank, method="WLE")
        assert abs((own["theta"] - truth).mean()) < 3 * own["theta"].std() / np.sqrt(n) + 0.01
        pulled = estimate_abilities(responses, bank, method="EAP", prior=(0.0, 1.0))
        assert abs((pulled["theta"] - truth).mean()) > 0.1
        assert own["theta"].std() == pytest.approx(own["se"].mean(), rel=0.1)


@pytest.mark.parametrize("method", get_args(AbilityMethod))
@BANKS
def test_extreme_learners_are_finite_and_in_order(bank: pd.DataFrame, method: AbilityMethod) -> None:
    learners = ["all wrong", "b half", "c all right"]
    answers = [*[0] * 8, *[1, 0] * 4, *[1] * 8]
    responses = Responses.from_long(np.repeat(learners, 8), bank["item_id"].tolist() * 3, answers)
    own = estimate_abilities(responses, bank, method=method, prior=(0.0, 1.0))
    assert own["student_id"].tolist() == learners
    assert np.isfinite(own[["theta", "se"]].to_numpy()).all()
    assert np.all(np.diff(own["theta"]) > 0)
    assert own["se"].gt(0).all()


def test_learner_without_a_usable_answer_is_the_prior() -> None:
    responses = Responses.from_long(["s", "t", "t"], ["unknown", "q1", "unknown"], [1, 1, 0])
    for method in ("EAP", "MAP"):
        own = estimate_abilities(responses, WITHOUT_GUESSING, method=method, prior=(0.3, 0.9))
        assert own["theta"][0] == pytest.approx(0.3, abs=1e-6)
        assert own["se"][0] == pytest.approx(0.9, abs=1e-6)
        assert own["n_responses"].tolist() == [0, 1]
    own = estimate_abilities(responses, WITHOUT_GUESSING, method="WLE")
    assert own[["theta", "se"]].isna().to_numpy().tolist() == [[True, True], [False, False]]


def test_a_prior_for_each_learner() -> None:
    """Weekly and topic abilities have a prior of their own each; one call must give what single calls give."""
    learners = ["s", "t", "u"]
    mean, sd = [-1.0, 0.0, 2.5], [0.3, 1.0, 0.05]
    responses = Responses.from_long(np.repeat(learners, 8), BANK["item_id"].tolist() * 3, MIXED * 3)
    for method in ("EAP", "MAP"):
        together = estimate_abilities(responses, BANK, method=method, prior=(mean, sd))
        by_series = (pd.Series(mean, learners).iloc[::-1], pd.Series(sd, learners))
        pd.testing.assert_frame_equal(together, estimate_abilities(responses, BANK, method=method, prior=by_series))
        for row, own in together.iterrows():
            alone = estimate_abilities(
                one_learner(MIXED), BANK, method=method, prior=(mean[int(str(row))], sd[int(str(row))])
            )
            assert own["theta"] == pytest.approx(alone["theta"][0], abs=1e-6)
            assert own["se"] == pytest.approx(alone["se"][0], abs=1e-6)


def test_default_prior_is_that_of_the_calibration() -> None:
    items = BANK.copy()
    items.attrs = {"latent_mean": 0.4, "latent_sd": 1.3}
    own = estimate_abilities(one_learner(MIXED), items)
    pd.testing.assert_frame_equal(own, estimate_abilities(one_learner(MIXED), BANK, prior=(0.4, 1.3)))


def test_priors_that_cannot_be_of_abilities_are_refused() -> None:
    """A mean in points instead of logits would otherwise ask for a grid of millions of nodes."""
    responses = Responses.from_long(["s", "t"], ["q1", "q1"], [1, 0])
    with pytest.raises(ValueError, match="priors reach from -6 to 506; expected priors of abilities in logits"):
        estimate_abilities(responses, BANK, prior=([0.0, 500.0], 1.0))


@pytest.mark.parametrize(
    ("items", "arguments", "message"),
    [
        (BANK, {}, "give prior=\\(mean, sd\\)"),
        (BANK, {"method": "ML"}, "method must be one of EAP, MAP, WLE, got 'ML'"),
        (BANK, {"prior": (0.0, 0.0)}, "prior of learner 's' has mean 0.0 and sd 0.0; expected .* positive sd"),
        (BANK, {"prior": (np.nan, 1.0)}, "prior of learner 's' has mean nan"),
        (BANK, {"prior": ([0.0, 1.0], 1.0)}, r"prior mean has shape \(2,\); expected one number or 1"),
        (BANK, {"prior": (pd.Series([0.0], ["x"]), 1.0)}, "prior mean has no entry for 1 learners, such as 's'"),
        (BANK.drop(columns="b"), {"prior": (0, 1)}, "items lacks column b; it has item_id, a, c"),
        (BANK.assign(a=np.nan), {"prior": (0, 1)}, "items: a of item 'q0' is nan; expected a finite number"),
        (BANK.assign(c=1.0), {"prior": (0, 1)}, "items: c of item 'q0' is 1.0; expected a number from 0 to under 1"),
        (pd.concat([BANK, BANK]), {"prior": (0, 1)}, "items must have one row per item; 'q0' appears more than once"),
    ],
)
def test_bad_input_is_named(items: pd.DataFrame, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_abilities(one_learner(MIXED), items, **arguments)
