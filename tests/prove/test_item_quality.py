"""How often tests of items and learners reject what is right, and find what is wrong; docs/models.md cites figures."""

from typing import Literal

import click
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from tests.prove.item_quality import compare, draw, plausible_value_q1

from irt_analytics.irt import Responses, calibrate, estimate_abilities
from irt_analytics.irt.item_tests import curve_fit
from irt_analytics.irt.local_dependence import local_dependence
from irt_analytics.irt.person_fit import person_fit

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        click.echo(f"\n{text}")


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize("n_students", [1_500, 3_000, 12_000])
def test_curves_of_good_items(
    model: Literal["2PL", "Rasch"], n_students: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """30 of 500 items a learner: 5 % of good items are rejected at 0.05, 1 % at 0.01, with 90 answers an item too."""
    p, q1 = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        responses = draw(model, rng.normal(size=n_students), 500, 30, rng)
        fit = calibrate(responses, model, standard_errors=False)
        p.append(curve_fit(responses, fit.items).tests["p"].to_numpy())
        if n_students == 3_000:
            q1.append(plausible_value_q1(responses, fit, 30, rng))
    found = np.concatenate(p)
    assert np.isfinite(found).all()
    assert len(found) >= 3_900
    text = (
        f"{model}, {n_students * 30 // 500} answers an item: {np.mean(found < 0.05):.3f}, {np.mean(found < 0.01):.3f}"
    )
    if q1:
        other = np.concatenate(q1)
        text += f"; PV-Q1 {np.mean(other < 0.05):.3f}, {np.mean(other < 0.01):.3f}"
    say(capsys, text)
    assert 0.03 <= np.mean(found < 0.05) <= 0.07
    assert 0.005 <= np.mean(found < 0.01) <= 0.018


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_curves_of_misread_items(model: Literal["2PL", "Rasch"], capsys: pytest.CaptureFixture[str]) -> None:
    """Easy items that half of the ablest get wrong are found; PV-Q1 beside it on the same answers."""
    found, q1 = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        theta = rng.normal(size=3_000)
        b = rng.normal(-1.0, 0.3, 60)
        eta = theta[:, None] - b
        eta[:, :5] = np.where(theta[:, None] > 0.5, 0.0, eta[:, :5])
        answered = np.argsort(rng.random(eta.shape), axis=1)[:, :10]
        right = rng.random(answered.shape) < expit(np.take_along_axis(eta, answered, axis=1))
        responses = Responses.from_long(np.repeat(np.arange(3_000), 10), answered.ravel(), right.ravel())
        fit = calibrate(responses, model, standard_errors=False)
        found += list(curve_fit(responses, fit.items).tests["p"][:5] < 0.05)
        q1 += list(plausible_value_q1(responses, fit, 30, rng)[:5] < 0.05)
    say(capsys, f"{model}, misread items with 500 answers: found {np.mean(found):.2f}; PV-Q1 {np.mean(q1):.2f}")
    assert np.mean(found) > np.mean(q1)


@pytest.mark.parametrize("answers_each", [10, 30, 60])
@pytest.mark.parametrize("calibrated", [False, True], ids=["items-known", "items-calibrated"])
def test_good_learners(answers_each: int, calibrated: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """At 30 answers one learner in twenty alarms at 0.05, also where the items are calibrated on the same answers."""
    rng = np.random.default_rng(answers_each)
    n_students, n_items = 20_000, 200
    theta = rng.normal(size=n_students)
    state = rng.bit_generator.state
    responses = draw("2PL", theta, n_items, answers_each, rng)
    rng.bit_generator.state = state
    truth = {"a": rng.lognormal(0.0, 0.3, n_items), "b": rng.normal(0.0, 1.0, n_items)}
    items = pd.DataFrame({"item_id": np.arange(n_items)} | truth)
    if calibrated:
        items = calibrate(responses, standard_errors=False).items
    fit = person_fit(responses, items)
    rates = {level: np.mean(fit["p"] < level) for level in (0.05, 0.01)}
    say(
        capsys,
        f"lz*, {answers_each} answers: {rates[0.05]:.3f}, {rates[0.01]:.3f}; lz {np.mean(fit['lz'] < -1.645):.3f}",
    )
    assert 0.03 <= rates[0.05] <= 0.07


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize("n_items", [10, 30])
def test_good_items_in_groups_a_sd_apart(model: str, n_items: int, capsys: pytest.CaptureFixture[str]) -> None:
    """5 % are rejected whoever answers; matched by sum score many more, which is why that is not the default."""
    for matching in ("ability", "score"):
        found = pd.concat(
            [
                compare(
                    model,
                    1_000,
                    n_items=n_items,
                    answers_each=n_items,
                    impact=1.0,
                    seed=seed,
                    matching="score" if matching == "score" else "ability",
                ).items
                for seed in range(-(-3_000 // n_items))
            ]
        )
        assert len(found) >= 3_000
        rates = {name: np.mean(found[name] < 0.05) for name in ("p", "p_uniform", "p_nonuniform", "p_both")}
        shown = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
        say(
            capsys,
            f"{model}, {n_items} items, matched by {matching}: {shown}; B or C {np.mean(found['ets'] != 'A'):.4f}",
        )
        if matching == "ability":
            assert all(0.03 <= rate <= 0.07 for rate in rates.values()), rates


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_half_a_logit_is_found(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 learners a group, groups a sd apart, 30 items of which two are half a logit harder for the less able."""
    found = pd.concat(
        [
            compare(model, 1_000, n_items=30, answers_each=30, impact=1.0, seed=seed, shift=-0.5, n_shifted=2).items
            for seed in range(100)
        ]
    )
    shifted = found["item_id"] < 2
    power = {name: np.mean(found.loc[shifted, name] < 0.05) for name in ("p", "p_uniform")}
    say(
        capsys,
        f"{model}: found by Mantel-Haenszel {power['p']:.3f}, by logistic regression {power['p_uniform']:.3f}; other "
        f"items {np.mean(found.loc[~shifted, 'p'] < 0.05):.3f}; effect {found.loc[shifted, 'effect'].mean():.3f}",
    )
    assert min(power.values()) >= 0.9
    assert np.mean(found.loc[~shifted, "p"] < 0.05) <= 0.07


def test_pairs_of_good_items(capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of pairs with a hundred joint answers: many above 0.2, hardly any named."""
    rng = np.random.default_rng(2)
    responses = draw("2PL", rng.normal(size=30_000), 500, 30, rng)
    items = calibrate(responses, standard_errors=False).items
    found = local_dependence(responses, items, estimate_abilities(responses, items)["theta"])
    named = int((found.pairs["p_adjusted"] < 0.05).sum())
    say(
        capsys,
        f"Q3: {found.n_pairs:,} pairs, mean {found.mean:.3f}, {len(found.pairs):,} at 0.2 or more, {named} named",
    )
    assert found.n_pairs > 10_000
    assert named <= 0.0001 * found.n_pairs
