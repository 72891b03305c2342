"""P and sigma: from weekly abilities through r-brms-plumber to the tables."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from pydantic import SecretStr
from tests.integration.logs import last_run, query, rows_of, run
from tests.prove.growth_model import GrowthCohort, Planted, calibration, fit, judge, simulate
from tests.r.growth import address_of, brms_itself, compiled, growth_service
from tests.r.rservice import TOKEN, RService

from irt_analytics import db
from irt_analytics.clients.brms import GrowthFitResult
from irt_analytics.jobs._growth_population import update_population
from irt_analytics.jobs._growth_posterior import Population, learner_lines
from irt_analytics.jobs.fit_bayesian_growth import (
    MIN_LEARNERS,
    Abilities,
    choose_sample,
    make_request,
    score,
)
from irt_analytics.settings import Settings

LEARNERS = 120
LAST_DAY = simulate(1, 1, 1).last_day


@pytest.fixture(scope="module")
def library(require_r: Callable[[str], Path]) -> Path:
    return require_r("brms")


@pytest.fixture(scope="module")
def service(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    with growth_service(library, tmp_path_factory.mktemp("r") / "brms.log") as running:
        yield running


@pytest.fixture
def with_service(settings: Settings, service: RService) -> Settings:
    return settings.model_copy(update={"r_brms_url": service.url, "r_brms_token": SecretStr(TOKEN)})


@pytest.fixture(scope="module")
def cohort() -> GrowthCohort:
    """Growth that differs much between learners, so that few learners tell of it."""
    return simulate(LEARNERS, 20, seed=3, weeks=8, planted=Planted(sd_slope=0.12))


@pytest.fixture(scope="module")
def fitted(service: RService) -> tuple[Abilities, GrowthFitResult]:
    """60 learners and the population sampled on all of them."""
    abilities = simulate(60, 20, seed=8, planted=Planted(sd_slope=0.1)).abilities()
    return abilities, fit(address_of(service), abilities, seed=4)


def write_weeks(settings: Settings, cohort: GrowthCohort, tenant: str = "default", **columns: Any) -> None:
    """The cohort's weeks as one run on its last day leaves them, and KPI rows of that day."""
    monday = cohort.mondays[-1]
    weekly = cohort.weekly.assign(
        tenant_id=tenant,
        as_of=cohort.last_day,
        week_start=[cohort.mondays[week] for week in cohort.weekly["week"]],
        reconstructed=cohort.weekly["week"] < cohort.weeks - 1,
        run_id="planted",
    ).drop(columns="week")
    kpi = pd.DataFrame({"user_id": cohort.lines.index}).assign(
        tenant_id=tenant,
        week_start=monday,
        as_of=cohort.last_day,
        reconstructed=False,
        a_t=0.5,
        a_t_source="by hand",
        s=0.25,
        s_n=1,
        s_source="by hand",
        **{f"{name}_reason": "by hand" for name in ("i_t", "e_t", "r_t")},
    )
    with db.connect(settings) as connection:
        db.ensure_partitions(connection, [cohort.last_day])
        db.copy_frame(connection, "student_week_theta", weekly.assign(**columns))
        db.copy_frame(connection, "weekly_kpi", kpi)


def write_goals(settings: Settings, goals: dict[str, tuple[float, date]]) -> None:
    rows = [{"user_id": user, "target_theta": theta, "target_date": day} for user, (theta, day) in goals.items()]
    with db.connect(settings) as connection:
        db.copy_frame(connection, "learner_goal", pd.DataFrame(rows).assign(tenant_id="default"))


def analytic(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(frame.columns[:2])).reset_index(drop=True)


def test_a_days_run_fills_its_own_columns_and_a_rerun_agrees(with_service: Settings, cohort: GrowthCohort) -> None:
    """P and sigma beside the other KPIs of the learner; a rerun that differs would change reports already read."""
    write_weeks(with_service, cohort)
    soon = LAST_DAY + timedelta(weeks=4)
    goals = {
        "s000000": (-6.0, soon),
        "s000001": (6.0, soon),
        "s000002": (0.0, LAST_DAY + timedelta(weeks=8)),
        "s000003": (0.0, LAST_DAY + timedelta(days=57)),
        "s000004": (0.0, LAST_DAY),
        "nobody": (0.0, soon),
    }
    write_goals(with_service, goals)
    assert run(with_service, "fit_bayesian_growth", LAST_DAY) == 0

    meta = rows_of(with_service, "growth_brms_meta").iloc[0]
    assert meta["status"] == "success"
    assert meta["max_rhat"] <= 1.05
    assert meta["divergences"] <= 0.01 * meta["draws"]
    assert meta["formula"] == "y | se(sqrt_v, sigma = TRUE) ~ 1 + week + (1 + week | student)"
    population = pd.DataFrame(meta["population"]).set_index("term")
    for term in ("intercept", "slope", "sd_intercept", "sd_slope", "correlation", "sigma"):
        planted, found = getattr(cohort.planted, term), population.loc[term]
        assert abs(planted - found["mean"]) < 3.5 * found["sd"], term
    assert not meta["sampled"]

    found = rows_of(with_service, "growth_learner").set_index("user_id")
    assert meta["n_learners_scored"] == len(found) <= LEARNERS
    truth = cohort.lines.loc[found.index]
    assert np.corrcoef(found["slope"], truth["slope"])[0, 1] > 0.6
    assert 0.9 < (found["slope_lower"].le(truth["slope"]) & found["slope_upper"].ge(truth["slope"])).mean() <= 1.0
    assert found["p"]["s000000"] > 0.999
    assert found["p"]["s000001"] < 0.001
    assert found.loc["s000002", "p_kind"] == "goal"
    without = found.loc[["s000003", "s000004"]]
    assert without[["p", "sigma", "p_kind", "sigma_kind"]].isna().to_numpy().all()
    assert without["reason"].tolist() == [
        "the goal's date is more than 8 weeks ahead",
        "the goal's date has passed",
    ]
    assert found.loc[["s000005"], ["p_kind", "sigma_kind"]].to_numpy().tolist() == [["slope", "slope"]]

    kpi = rows_of(with_service, "weekly_kpi").set_index("user_id")
    assert kpi.loc[found.index, "p"].equals(found["p"])
    assert kpi.loc[found.index, "sigma_source"].equals(found["sigma_kind"])
    assert kpi["p_reason"].compare(kpi["sigma_reason"]).empty
    assert kpi.loc["s000003", "p_reason"] == "the goal's date is more than 8 weeks ahead"
    assert (kpi["s"] == 0.25).all()
    absent = kpi.index.difference(found.index)
    assert kpi.loc[absent, "p_reason"].eq("fewer than 3 weeks with answers that tell of ability").all()

    tables = ("growth_brms_meta", "growth_learner", "weekly_kpi")
    before = {table: analytic(rows_of(with_service, table)) for table in tables}
    assert run(with_service, "fit_bayesian_growth", LAST_DAY) == 0
    for table in tables:
        pd.testing.assert_frame_equal(before[table], analytic(rows_of(with_service, table)))


def test_a_log_that_is_too_small_is_a_skip_with_its_numbers(with_service: Settings) -> None:
    """A team that reads why P is missing knows what to wait for; an earlier try's P must not stay."""
    write_weeks(with_service, simulate(MIN_LEARNERS - 1, 15, seed=1, active=1.0))
    with db.connect(with_service) as connection:
        connection.execute("update weekly_kpi set p = 0.5, p_n = 3, p_source = 'slope'")
    assert run(with_service, "fit_bayesian_growth", LAST_DAY) == 0
    row = last_run(with_service)
    assert row["status"] == "skipped"
    assert row["reason"].startswith("49 learners with abilities in 3 weeks or more of the 8 up to")
    assert row["reason"].endswith("growth needs 50")
    meta = rows_of(with_service, "growth_brms_meta").iloc[0]
    assert (meta["status"], meta["reason"]) == ("skipped", row["reason"])
    kpi = rows_of(with_service, "weekly_kpi")
    assert kpi["p"].isna().all()
    assert kpi["p_reason"].eq(row["reason"]).all()


def test_without_a_service_the_reason_is_recorded(settings: Settings, cohort: GrowthCohort) -> None:
    """A machine without R still finishes its day, and says why P is missing."""
    write_weeks(settings, cohort)
    absent = settings.model_copy(update={"r_brms_unavailable": "R is not installed"})
    assert run(absent, "fit_bayesian_growth", LAST_DAY) == 0
    row = last_run(settings)
    assert row["status"] == "skipped"
    assert "R is not installed" in row["reason"]
    assert rows_of(settings, "growth_brms_meta")["status"].tolist() == ["skipped"]


def test_whole_weeks_win_then_live_ones_and_nothing_later_enters(settings: Settings, cohort: GrowthCohort) -> None:
    """Part of a week is not the week, and a row that a later run wrote lets a past day's rerun see the future."""
    first, second, third, running = *cohort.mondays[:3], cohort.mondays[-1]
    rows = [
        # week_start, as_of, reconstructed, y
        (first, first + timedelta(days=2), False, 1.0),
        (first, first + timedelta(days=5), False, 2.0),
        (first, first + timedelta(days=8), True, 3.0),
        (first, first + timedelta(days=9), True, 4.0),
        (second, second + timedelta(days=6), False, 5.0),
        (second, LAST_DAY, True, 6.0),
        (third, third + timedelta(days=5), False, 7.0),
        (third, LAST_DAY + timedelta(days=1), True, 8.0),
        (running, LAST_DAY - timedelta(days=1), False, 9.0),
        (running, LAST_DAY, False, 10.0),
        (first - timedelta(weeks=1), LAST_DAY, True, 11.0),
    ]
    frame = pd.DataFrame(rows, columns=["week_start", "as_of", "reconstructed", "y"])
    frame = frame.assign(tenant_id="default", user_id="a", m=0.0, s=0.5, v=0.4, mu0=0.0, sd0=1.0, n=5, run_id="r")
    with db.connect(settings) as connection:
        db.ensure_partitions(connection, frame["as_of"].tolist())
        db.copy_frame(connection, "student_week_theta", frame)
        connection.commit()
        read = db.read_frame(
            connection, "growth/weeks", tenant_id="default", as_of=LAST_DAY, first_week=cohort.mondays[0]
        )
    assert read["y"].tolist() == [4.0, 5.0, 7.0, 10.0]
    assert query(settings, "select count(*) as n from student_week_theta")["n"][0] == len(rows)


def test_population_draws_are_those_of_brms(
    library: Path, fitted: tuple[Abilities, GrowthFitResult], tmp_path: Path
) -> None:
    """The service stands for brms; so do, given its draws, the closed forms for each of 60 learners."""
    abilities, result = fitted
    week_ahead, target = abilities.weeks[-1] + 4.0, np.linspace(-0.5, 1.0, 60)
    sample, _ = choose_sample(abilities.user_ids, abilities.n_weeks, len(abilities.user_ids))
    direct = brms_itself(
        library, tmp_path, make_request(abilities, sample, 4), result.sampler, week_ahead, target, compile_anew=False
    )
    for name, values in result.draws.model_dump().items():
        assert direct["draws"][name] == pytest.approx(values, rel=1e-13, abs=1e-13)  # R writes 15 digits

    draws = Population(**{name: np.asarray(values) for name, values in direct["draws"].items()})
    lines = learner_lines(draws, abilities.weeks, abilities.y, abilities.v)
    p_slope, p_goal = lines.slopes().at_least(0.0), lines.at(week_ahead).at_least(target)
    assert np.abs(p_slope - direct["p_slope"]).mean() <= 0.02
    assert np.abs(p_goal - direct["p_goal"]).mean() <= 0.02
    assert np.abs((lines.slopes().mean() - direct["slope"]) / direct["slope_sd"]).mean() <= 0.05
    assert lines.slopes().sd() == pytest.approx(np.array(direct["slope_sd"]), rel=0.15)
    assert lines.at(week_ahead).sd() == pytest.approx(np.array(direct["theta_sd"]), rel=0.15)


def test_the_service_compiles_nothing(
    library: Path, service: RService, fitted: tuple[Abilities, GrowthFitResult]
) -> None:
    """A request that waits for a compiler, or needs one in the image, is a request that fails in production."""
    assert fitted[1].n_learners == 60
    started = psutil.Process(service.process.pid).create_time()
    assert compiled(library).stat().st_mtime < started
    assert {path.suffix for path in compiled(library).parent.iterdir()} == {".rds"}


def test_draws_given_all_learners_are_those_that_brms_would_give(
    fitted: tuple[Abilities, GrowthFitResult],
) -> None:
    """The update with learners that the sampler did not take must be the same model: checked where both have all."""
    abilities, result = fitted
    draws = Population(**{name: np.asarray(values) for name, values in result.draws.model_dump().items()})
    updated, effective = update_population(
        draws, abilities.weeks, abilities.y, abilities.v, fitted=60, seed=1, size=1000
    )
    assert effective >= 200
    for term, size in zip(result.population.term, result.population.ess_bulk, strict=True):
        sampled, found = getattr(draws, term), getattr(updated, term)
        error = sampled.std() * np.sqrt(1 / size + 1 / effective)
        assert abs(found.mean() - sampled.mean()) < 4 * error, term
        assert 0.8 < found.std() / sampled.std() < 1.25, term


def test_learners_outside_the_sample_are_judged_well(service: RService) -> None:
    """P must mean what it says also for learners that the population was not sampled on."""
    cohort = simulate(6000, 15, seed=5, planted=Planted(sd_slope=0.1))
    abilities = cohort.abilities()
    judged = judge(cohort, abilities, fit(address_of(service), abilities, seed=2, size=100))
    for held in (judged["slope_held"], judged["theta_held"]):
        assert 0.86 <= held.mean() <= 0.93
    assert calibration(judged)["difference"].abs().max() < 0.05


def test_posterior_equals_the_textbook_formula() -> None:
    """The vectorised closed form, learner by learner, against the matrices of Laird and Ware."""
    rng = np.random.default_rng(2)
    population = Population(
        *rng.normal(0.0, 0.1, (2, 3)), *rng.uniform(0.05, 0.9, (2, 3)), *rng.uniform(0, 0.3, (2, 3))
    )
    weeks, y = np.linspace(-2.0, 2.0, 5), rng.normal(size=(7, 5))
    v = np.where(rng.random((7, 5)) < 0.3, np.inf, rng.uniform(0.1, 0.5, (7, 5)))
    lines = learner_lines(population, weeks, y, v)
    for draw in range(3):
        mu = np.array([population.intercept[draw], population.slope[draw]])
        s0, s1, r = (getattr(population, name)[draw] for name in ("sd_intercept", "sd_slope", "correlation"))
        sigma = np.array([[s0**2, r * s0 * s1], [r * s0 * s1, s1**2]])
        for learner in range(7):
            seen = np.isfinite(v[learner])
            z = np.column_stack([np.ones(seen.sum()), weeks[seen]])
            w = np.diag(1.0 / (v[learner, seen] + population.sigma[draw] ** 2))
            variance = np.linalg.inv(np.linalg.inv(sigma) + z.T @ w @ z)
            mean = mu + variance @ z.T @ w @ (y[learner, seen] - z @ mu)
            found = [lines.intercept[draw, learner], lines.slope[draw, learner]]
            assert found == pytest.approx(mean, rel=1e-9)
            parts = [getattr(lines, name)[draw, learner] for name in ("var_intercept", "covariance", "var_slope")]
            assert parts == pytest.approx([variance[0, 0], variance[0, 1], variance[1, 1]], rel=1e-9)
            at = lines.at(3.0)
            assert at.sds[draw, learner] == pytest.approx(np.sqrt([1, 3] @ variance @ [1, 3]), rel=1e-9)


def test_mixtures_have_the_quantiles_they_say() -> None:
    """An interval's ends are where the probability is, also where draws of the population disagree."""
    rng = np.random.default_rng(3)
    population = Population(
        rng.normal(0.0, 0.5, 40),
        rng.normal(0.0, 0.2, 40),
        np.full(40, 0.8),
        rng.uniform(0.01, 0.4, 40),
        np.zeros(40),
        np.full(40, 0.1),
    )
    lines = learner_lines(population, np.array([-1.0, 0.0, 1.0]), rng.normal(size=(50, 3)), np.full((50, 3), 0.3))
    for mixture in (lines.slopes(), lines.at(4.0)):
        for probability in (0.025, 0.5, 0.975):
            assert mixture.at_least(mixture.quantile(probability)) == pytest.approx(
                np.full(50, 1 - probability), abs=1e-6
            )


def test_a_population_that_does_not_differ_gives_everyone_its_growth() -> None:
    """Between-learner sds near zero are where a posterior by matrix inversion breaks."""
    population = Population(*(np.full(2, value) for value in (0.2, 0.05, 1e-9, 1e-9, 0.5, 0.1)))
    abilities = Abilities(
        np.array(["a", "b"], dtype=object),
        [date(2026, 1, 5) + timedelta(weeks=week) for week in range(3)],
        np.array([[3.0, 3.0, 3.0], [-3.0, -3.0, -3.0]]),
        np.full((2, 3), 0.1),
        np.array([30, 30]),
    )
    goals = pd.DataFrame({"target_theta": [np.nan, np.nan], "target_date": [None, None]})
    found = score(abilities, population, goals, date(2026, 1, 25))
    assert found["slope"].tolist() == pytest.approx([0.05, 0.05])
    assert found["p"].tolist() == pytest.approx([1.0, 1.0])
