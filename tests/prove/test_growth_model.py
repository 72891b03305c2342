"""Bayesian growth at full size; prints the figures that docs/models.md cites."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.prove.growth_model import FIRST_MONDAY, Planted, calibration, coverage, fit, judge, power, simulate
from tests.r.conftest import r_status, require_r
from tests.r.growth import address_of, brms_itself, growth_service
from tests.r.rservice import RService

from irt_analytics.jobs._growth_posterior import learner_lines
from irt_analytics.jobs.fit_bayesian_growth import (
    MIN_WEEKS,
    Abilities,
    choose_sample,
    make_request,
    population_of,
    score,
)

__all__ = ["r_status", "require_r"]  # fixtures of this module too

LEARNERS = 10_020  # a few have under three weeks and are not judged
JUDGED = 50_000
ANSWERS = 15
COHORTS = [
    Planted(),
    Planted(slope=0.0, sd_slope=0.08, correlation=0.3),
    Planted(intercept=-0.3, slope=0.05, sigma=0.2),
    Planted(slope=-0.02, sd_slope=0.06, correlation=-0.3),
    Planted(sd_intercept=0.6, slope=0.02, sd_slope=0.1, sigma=0.0),
]

# five times a minute or two of sampling, on an idle machine
pytestmark = [pytest.mark.prove, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def library(require_r: Callable[[str], Path]) -> Path:
    return require_r("brms")


@pytest.fixture(scope="module")
def service(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    with growth_service(library, tmp_path_factory.mktemp("r") / "brms.log") as running:
        yield running


def show(capsys: pytest.CaptureFixture[str], *what: Any) -> None:
    with capsys.disabled():
        print("", *what, sep="\n", flush=True)  # noqa: T201


def test_population_and_learners_equal_a_full_fit_by_brms(
    library: Path, service: RService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """brms compiles the model anew here: neither our stored model nor our closed forms may differ from it."""
    abilities = simulate(60, ANSWERS, seed=21, planted=Planted(sd_slope=0.1)).abilities()
    result = fit(address_of(service), abilities, seed=4)
    sample, _ = choose_sample(abilities.user_ids, abilities.n_weeks, len(abilities.user_ids))
    request = make_request(abilities, sample, 4)
    week_ahead, target = abilities.weeks[-1] + 4.0, np.linspace(-0.5, 1.0, len(abilities.user_ids))
    direct = brms_itself(library, tmp_path, request, result.sampler, week_ahead, target, compile_anew=True)
    for name, values in result.draws.model_dump().items():
        assert direct["draws"][name] == pytest.approx(values, rel=1e-13, abs=1e-13)  # R writes 15 digits

    assert result.n_learners == len(abilities.user_ids)
    lines = learner_lines(population_of(result, abilities, seed=1)[0], abilities.weeks, abilities.y, abilities.v)
    p_slope, p_goal = lines.slopes().at_least(0.0), lines.at(week_ahead).at_least(target)
    found = {
        "P of the slope": np.abs(p_slope - direct["p_slope"]).mean(),
        "P of the goal": np.abs(p_goal - direct["p_goal"]).mean(),
        "slope, in its sd": np.abs((lines.slopes().mean() - direct["slope"]) / direct["slope_sd"]).mean(),
    }
    show(capsys, "mean absolute difference from brms", pd.Series(found).round(4).to_string())
    assert found["P of the slope"] <= 0.02
    assert found["P of the goal"] <= 0.02
    assert found["slope, in its sd"] <= 0.05


def test_intervals_cover_and_p_means_what_it_says(service: RService, capsys: pytest.CaptureFixture[str]) -> None:
    """From simulated answers to P: five populations, in each 300 learners sampled and 10,000 scored."""
    parts, said = [], []
    for seed, planted in enumerate(COHORTS):
        cohort = simulate(LEARNERS, ANSWERS, seed=100 + seed, planted=planted)
        abilities = cohort.abilities()
        result = fit(address_of(service), abilities, seed=seed + 1)
        judged = judge(cohort, abilities, result)
        parts.append(judged)
        said.append(
            {
                "learners": len(judged),
                "slopes held": judged["slope_held"].mean(),
                "theta held": judged["theta_held"].mean(),
                "worst decile": calibration(judged)["difference"].abs().max(),
                "R-hat": result.max_rhat,
                "divergences": result.divergences,
            }
        )
        show(capsys, planted, said[-1])
    judged, cohorts = pd.concat(parts), pd.DataFrame(said)
    table = calibration(judged)
    show(
        capsys,
        cohorts.round(3).to_string(),
        f"{len(judged):,} learners",
        judged[["slope_held", "theta_held"]].mean().round(4).to_string(),
        table.round(3).to_string(),
    )
    assert len(judged) >= JUDGED
    assert cohorts[["slopes held", "theta held"]].ge(0.85).all(axis=None)
    assert cohorts[["slopes held", "theta held"]].le(0.93).all(axis=None)
    assert table["difference"].abs().max() <= 0.03


def test_intervals_where_the_population_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether a week of few answers is summed up well enough by a normal y and v: nothing else is uncertain here."""
    table = pd.DataFrame([coverage(answers) for answers in (5, 8, 15, 30)])
    show(capsys, table.round(4).to_string(index=False))
    assert np.abs(table[["slopes held", "theta held"]].to_numpy() - 0.9).max() < 0.02


def test_a_hundred_thousand_learners_take_under_a_minute(service: RService, capsys: pytest.CaptureFixture[str]) -> None:
    """All that follows the service's sampling, in processor time: the population brought up to date, and the scores."""
    rng = np.random.default_rng(1)
    learners, weeks = 100_000, 8
    intercept, slope = rng.normal(0.1, 0.8, learners), rng.normal(0.03, 0.05, learners)
    axis = np.arange(weeks) - (weeks - 1) / 2
    v = rng.uniform(0.1, 0.6, (learners, weeks))
    y = rng.normal(intercept[:, None] + slope[:, None] * axis, np.sqrt(v + 0.1**2))
    missing = rng.random((learners, weeks)) < 0.2
    missing[:, :MIN_WEEKS] = False
    abilities = Abilities(
        np.array([f"s{i:06d}" for i in range(learners)], dtype=object),
        [FIRST_MONDAY + timedelta(weeks=week) for week in range(weeks)],
        np.where(missing, 0.0, y),
        np.where(missing, np.inf, v),
        np.full(learners, 100),
    )
    result = fit(address_of(service), abilities, seed=1)
    as_of = FIRST_MONDAY + timedelta(days=7 * weeks - 1)
    goals = pd.DataFrame({"target_theta": 0.5, "target_date": [as_of + timedelta(days=20)] * learners})
    started = time.process_time()
    population, _ = population_of(result, abilities, seed=1)
    updated = time.process_time()
    found = score(abilities, population, goals, as_of)
    ended = time.process_time()
    show(
        capsys,
        f"{learners:,} learners, processor time: population {updated - started:.1f} s, scores {ended - updated:.1f} s",
    )
    assert np.isfinite(found[["slope", "slope_lower", "slope_upper", "theta_now", "p", "sigma"]]).all(axis=None)
    assert ended - started < 60.0


def test_power(capsys: pytest.CaptureFixture[str]) -> None:
    """More weeks and more answers must tell more: the table says from when on P is worth reading."""
    cells = [(answers, weeks) for answers in (5, 15, 30) for weeks in (4, 8, 12, 26)]
    table = pd.DataFrame([power(answers, weeks) for answers, weeks in cells])
    show(capsys, table.round(2).to_string(index=False))
    reliability = table.pivot_table(index="answers", columns="weeks", values="reliability")
    assert (reliability.diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert (reliability.diff().iloc[1:] > 0).all(axis=None)
