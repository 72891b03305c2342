"""Fixed points of maps that are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irt_analytics.irt._anderson import FixedPoint, anderson

Step = Callable[[Any], tuple[Any, float]]


def linear(rates: Any, seed: int = 20260131) -> tuple[Step, Any]:
    """The map of a quadratic objective that draws near its maximum at these rates, one an axis; and that maximum."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(len(rates), len(rates))))[0]
    matrix, fixed = axes @ np.diag(rates) @ axes.T, rng.normal(size=len(rates))

    def step(x: Any) -> tuple[Any, float]:
        away = x - fixed
        return fixed + matrix @ away, -float(away @ (np.eye(len(rates)) - matrix) @ away)

    return step, fixed


def find(step: Step, start: Any, **changed: Any) -> FixedPoint:
    settings = {
        "tolerance": 1e-6,
        "max_evaluations": 1000,
        "project": lambda x: x,
        "distance": lambda x, y: float(np.abs(x - y).max()),
        "report": lambda *_: None,
        "leave": lambda _: False,
    }
    return anderson(step, start, **{**settings, **changed})


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("slowest", "within"), [(0.5, 2e-6), (0.9, 2e-6), (0.99, 8e-6)])
def test_ends_about_the_tolerance_and_long_before_plain_steps(slowest: float, within: float, seed: int) -> None:
    """Plain steps from a distance of about 1 need log(1e-6) / log(rate) of them."""
    step, fixed = linear(np.linspace(0.0, slowest, 30), seed)
    end = find(step, np.zeros(30))
    assert end.converged
    assert np.abs(end.x - fixed).max() < within
    assert end.evaluations < 30 + 0.1 * np.log(1e-6) / np.log(slowest)


def test_as_many_steps_as_there_are_rates_are_enough() -> None:
    """A linear map with three rates is at its end after three extrapolations, and one that sees it."""
    step, fixed = linear(np.repeat([0.2, 0.6, 0.95], 10))
    end = find(step, np.zeros(30), tolerance=1e-4)
    assert np.abs(end.x - fixed).max() < 1e-4
    assert end.evaluations <= 6


def test_what_lowers_the_objective_is_undone() -> None:
    """A map that bends: what it does near the start says nothing of what it does further on."""
    seen = []

    def step(x: Any) -> tuple[Any, float]:
        gradient = np.tanh(5.0 * (x - 3.0)) + 0.05 * (x - 3.0)
        value = -float((np.log(np.cosh(5.0 * (x - 3.0))) / 5.0 + 0.025 * (x - 3.0) ** 2).sum())
        seen.append(value)
        return x - 0.15 * gradient, value

    end = find(step, np.array([-4.0, 9.0, 3.2]))
    assert end.converged
    np.testing.assert_allclose(end.x, 3.0, atol=1e-6)
    kept, lowered = seen[0], 0
    for value in seen[1:]:
        lowered += value < kept
        kept = max(kept, value)
    assert lowered, "or nothing was tried here"
    assert kept == seen[-1] or np.isclose(kept, seen[-1], atol=1e-12)


def test_extrapolations_stay_within_bounds() -> None:
    step, fixed = linear(np.linspace(0.5, 0.98, 20))
    limit = np.abs(fixed).max() / 2.0
    seen = []

    def bounded(x: Any) -> tuple[Any, float]:
        seen.append(x)
        moved, value = step(x)
        return np.clip(moved, -limit, limit), value

    find(bounded, np.zeros(20), project=lambda x: np.clip(x, -limit, limit), max_evaluations=200)
    assert np.abs(seen).max() <= limit


def test_a_start_at_the_fixed_point_needs_one_evaluation() -> None:
    step, fixed = linear(np.array([0.5, 0.9]))
    end = find(lambda x: (x, step(x)[1]), fixed)
    assert (end.converged, end.evaluations) == (True, 1)


def test_gives_up_and_says_so() -> None:
    step, _ = linear(np.linspace(0.0, 0.9999, 40))
    end = find(step, np.zeros(40), max_evaluations=7)
    assert not end.converged
    assert end.evaluations in (7, 8)


def test_leaves_where_it_is_told() -> None:
    step, _ = linear(np.linspace(0.0, 0.99, 10))
    asked = []

    def leave(x: Any) -> bool:
        asked.append(x)
        return len(asked) == 3

    end = find(step, np.zeros(10), leave=leave)
    assert not end.converged
    np.testing.assert_array_equal(end.x, asked[2])


def test_where_extrapolations_fail_plain_steps_go_on() -> None:
    """Away from a saddle the residual grows, and what looks like its end lies behind."""

    def step(x: Any) -> tuple[Any, float]:
        # the objective is -(|x| - 1)^2, whose gradient step leaves 0 at a rate above 1
        return x + 0.02 * (np.sign(x) - x) * np.abs(x), -float(((np.abs(x) - 1.0) ** 2).sum())

    plain, steps = np.array([1e-3, -2e-3]), 0
    while np.abs(np.abs(plain) - 1.0).max() > 1e-3:
        plain, steps = step(plain)[0], steps + 1
    end = find(step, np.array([1e-3, -2e-3]), tolerance=1e-3, max_evaluations=5000)
    assert end.converged
    np.testing.assert_allclose(np.abs(end.x), 1.0, atol=2e-3)
    assert end.evaluations < 1.3 * steps


def test_an_objective_that_is_no_number_is_never_kept() -> None:
    def step(x: Any) -> tuple[Any, float]:
        with np.errstate(invalid="ignore"):
            value = float((np.log(x) - x).sum())
        return np.sqrt(np.abs(x)), value

    end = find(step, np.array([40.0, 0.001]), max_evaluations=300)
    assert end.converged
    np.testing.assert_allclose(end.x, 1.0, atol=1e-5)


def test_a_bound_that_stops_the_extrapolation_does_not_stop_the_steps() -> None:
    """The map may lead beyond bounds that extrapolations keep."""
    end = find(lambda x: (0.9 * x + 0.1, -float(((x - 1.0) ** 2).sum())), np.zeros(3), project=lambda x: x.clip(-1, 0))
    assert end.converged
    np.testing.assert_allclose(end.x, 1.0, atol=1e-5)
