"""Abilities by topic against direct integration, and the between-topic sd against planted ones."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt._kernels import topics as kernels
from irt_analytics.irt.topics import estimate_topic_abilities, estimate_topic_sd

TOPICS = 10


def simulate(
    tau: float,
    *,
    learners: int = 2_000,
    answers: int = 40,
    seed: int = 1,
    mean: float = 0.0,
    sd: float = 1.0,
    items_of_topic: int = 12,
) -> tuple[Responses, pd.DataFrame, NDArray[np.int64]]:
    """Answers of learners whose theta deviates from topic to topic; the items; the learners of the units."""
    rng = np.random.default_rng(seed)
    n_items = items_of_topic * TOPICS
    items = pd.DataFrame(
        {"item_id": np.arange(n_items), "a": np.exp(rng.normal(0, 0.3, n_items)), "b": rng.normal(0, 1, n_items)}
    )
    student = np.repeat(np.arange(learners), answers)
    item = np.concatenate([rng.choice(n_items, answers, replace=False) for _ in range(learners)])
    topic = item % TOPICS
    theta = rng.normal(mean, sd, learners)[student] + rng.normal(0, tau, (learners, TOPICS))[student, topic]
    p = 1.0 / (1.0 + np.exp(-items["a"].to_numpy()[item] * (theta - items["b"].to_numpy()[item])))
    responses = Responses.from_long(student * TOPICS + topic, item, rng.random(len(item)) < p)
    return responses, items, np.asarray(responses.student_ids) // TOPICS


@pytest.mark.parametrize("tau", [0.2, 0.5, 0.8])
def test_planted_between_topic_sd_is_recovered(tau: float) -> None:
    """Too large a tau makes topic profiles of noise, too small a one hides them."""
    estimates = [estimate_topic_sd(*simulate(tau, seed=seed), (0.0, 1.0)) for seed in range(3)]
    assert np.mean(estimates) == pytest.approx(tau, abs=0.05)


@pytest.mark.parametrize(("topics", "answers"), [(6, 10), (400, 20)])
def test_a_learner_s_likelihood_is_the_integral_wherever_the_learner_stands(topics: int, answers: int) -> None:
    """Topics that contradict each other leave a product under the smallest double; a place must not count at all."""
    nodes = np.linspace(-6.0, 6.0, 121)
    spacing, tau, copies = nodes[1] - nodes[0], 0.4, 3
    curves = np.stack([-np.logaddexp(0.0, 2.0 * nodes), -np.logaddexp(0.0, -2.0 * nodes)])
    table = np.zeros((2, 128))
    table[:, :121] = curves
    right = (np.arange(topics) % 2).repeat(answers)
    log_prior = norm.logpdf(nodes) + np.log(spacing)
    smoother = norm.pdf(np.arange(17) * spacing / tau)
    smoother /= 2.0 * smoother.sum() - smoother[0]
    value = np.empty(copies)
    kernels.log_marginal(
        0,
        copies,
        np.arange(copies + 1) * topics,
        np.arange(copies * topics + 1) * answers,
        np.tile(right, copies).astype(np.uint16),
        table,
        log_prior,
        smoother,
        value,
    )
    total = log_prior.copy()
    distance = np.abs(np.arange(121)[:, None] - np.arange(121))
    weights = np.where(distance < 17, smoother[np.minimum(distance, 16)], 0.0)
    for wrong_or_right in right[::answers]:
        log_likelihood = answers * curves[wrong_or_right]
        top = log_likelihood.max()
        total += top + np.log(weights @ np.exp(log_likelihood - top))
    assert value == pytest.approx(logsumexp(total), rel=1e-12)
    assert np.ptp(value) == 0.0


def test_scale_of_theta_scales_the_between_topic_sd() -> None:
    """A published scale with another unit must not change what is said in its units."""
    responses, items, learner = simulate(0.5)
    moved = items.assign(a=items["a"] / 2.0, b=2.0 * items["b"] + 3.0)
    tau = estimate_topic_sd(responses, items, learner, (0.0, 1.0))
    assert estimate_topic_sd(responses, moved, learner, (3.0, 2.0)) == pytest.approx(2.0 * tau, abs=0.01)
    theta = estimate_topic_abilities(responses, items, learner, (0.0, 1.0), 0.5)
    of_moved = estimate_topic_abilities(responses, moved, learner, (3.0, 2.0), 1.0)
    np.testing.assert_allclose(of_moved["theta"], 2.0 * theta["theta"] + 3.0, atol=1e-9)
    np.testing.assert_allclose(of_moved["se"], 2.0 * theta["se"], atol=1e-9)


def test_one_topic_a_learner_says_nothing_about_differences_between_topics() -> None:
    responses, items, _ = simulate(0.5, learners=100)
    assert estimate_topic_sd(responses, items, np.arange(responses.n_students), (0.0, 1.0)) == 0.0


@pytest.mark.parametrize("answered", [15, 6_000])
def test_topic_abilities_are_those_of_direct_integration(answered: int) -> None:
    """Prior from the other topics' answers, posterior from the topic's own, each by adaptive quadrature.

    With hundreds of answers the posteriors are narrower than the steps of a grid for everybody.
    """
    many = answered > 1_000
    responses, items, learner = simulate(
        0.5, learners=2 if many else 4, answers=answered, mean=0.3, sd=1.2, items_of_topic=800 if many else 12
    )
    tau, mean, sd = 0.4, 0.3, 1.2
    found = estimate_topic_abilities(responses, items, learner, (mean, sd), tau)
    answers = responses.to_frame().merge(items, on="item_id").assign(learner=lambda f: f["student_id"] // TOPICS)

    def moments(rows: pd.DataFrame, prior_mean: float, prior_sd: float) -> tuple[float, float]:
        sign = np.where(rows["correct"], 1.0, -1.0)

        def log_density(theta: float) -> float:
            logits = sign * rows["a"].to_numpy() * (theta - rows["b"].to_numpy())
            return float(-np.logaddexp(0.0, -logits).sum() + norm.logpdf(theta, prior_mean, prior_sd))

        grid = np.linspace(-9, 9, 181)
        of_grid = [log_density(theta) for theta in grid]
        peak, top = grid[np.argmax(of_grid)], np.max(of_grid)
        total, first, second = (
            quad(
                lambda theta: np.exp(log_density(theta) - top) * theta**power,  # noqa: B023
                -9,
                9,
                points=[peak - 0.5, peak, peak + 0.5],
                epsabs=0,
                epsrel=1e-10,
                limit=200,
            )[0]
            for power in range(3)
        )
        return first / total, float(np.sqrt(second / total - (first / total) ** 2))

    narrowest = sd
    for row in found[:: 7 if many else 2].to_dict("records"):
        own = answers["student_id"] == row["student_id"]
        others = answers[(answers["learner"] == row["student_id"] // TOPICS) & ~own]
        prior_mean, prior_se = moments(others, mean, sd)
        prior_sd = float(np.hypot(prior_se, tau))
        theta, se = moments(answers[own], prior_mean, prior_sd)
        narrowest = min(narrowest, se)
        assert (row["prior_mean"], row["prior_sd"]) == pytest.approx((prior_mean, prior_sd), abs=1e-6)
        assert (row["theta"], row["se"]) == pytest.approx((theta, se), abs=1e-6)
        assert row["n_responses"] == own.sum()
    assert (narrowest < 0.1) == many


def test_a_single_topic_has_the_population_s_prior() -> None:
    """Without answers outside the topic, the topic's theta is plain EAP, its prior wider by tau^2."""
    responses, items, _ = simulate(0.5, learners=50)
    alone = np.arange(responses.n_students)
    found = estimate_topic_abilities(responses, items, alone, (0.2, 1.1), 0.3)
    expected = estimate_abilities(responses, items, prior=(0.2, float(np.hypot(1.1, 0.3))))
    np.testing.assert_allclose(found[["theta", "se"]], expected[["theta", "se"]], atol=1e-6)
    assert (found["prior_mean"] == 0.2).all()
    assert found["prior_sd"].to_numpy() == pytest.approx(np.hypot(1.1, 0.3))


def test_a_learner_s_rows_depend_on_that_learner_only() -> None:
    """Else results would change with the number of shards."""
    responses, items, learner = simulate(0.5, learners=300)
    whole = estimate_topic_abilities(responses, items, learner, (0.0, 1.0), 0.3)
    answers = responses.to_frame()
    parts = []
    for remainder in range(3):
        shard = answers[answers["student_id"] // TOPICS % 3 == remainder]
        of_shard = Responses.from_long(shard["student_id"], shard["item_id"], shard["correct"])
        units = np.asarray(of_shard.student_ids) // TOPICS
        parts.append(estimate_topic_abilities(of_shard, items, units, (0.0, 1.0), 0.3))
    together = pd.concat(parts).sort_values("student_id", ignore_index=True)
    pd.testing.assert_frame_equal(together, whole, check_exact=True)


def test_wanted_topics_have_the_numbers_that_they_have_among_all() -> None:
    """The answers in the learner's other topics count, whether or not their theta is asked for."""
    responses, items, learner = simulate(0.5, learners=40)
    whole = estimate_topic_abilities(responses, items, learner, (0.0, 1.0), 0.3)
    wanted = np.arange(responses.n_students) % 3 == 1
    found = estimate_topic_abilities(responses, items, learner, (0.0, 1.0), 0.3, wanted)
    pd.testing.assert_frame_equal(found[wanted], whole[wanted], check_exact=True)
    assert found.loc[~wanted, ["theta", "se", "prior_mean", "prior_sd"]].isna().all(axis=None)
    with pytest.raises(ValueError, match=r"wanted has shape \(3,\); expected"):
        estimate_topic_abilities(responses, items, learner, (0.0, 1.0), 0.3, wanted[:3])


def test_bad_arguments_are_named() -> None:
    responses, items, learner = simulate(0.5, learners=5)
    with pytest.raises(ValueError, match="learner must be sorted"):
        estimate_topic_abilities(responses, items, learner[::-1], (0.0, 1.0), 0.3)
    with pytest.raises(ValueError, match=r"learner has shape \(3,\); expected"):
        estimate_topic_sd(responses, items, learner[:3], (0.0, 1.0))
    with pytest.raises(ValueError, match="tau must be a number from 0, got -1"):
        estimate_topic_abilities(responses, items, learner, (0.0, 1.0), -1.0)
    with pytest.raises(ValueError, match="the prior needs a finite mean and a positive sd"):
        estimate_topic_sd(responses, items, learner, (0.0, 0.0))
