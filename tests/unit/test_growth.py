"""Growth (I_t): a wrong estimator here would tell teachers that learners improve who do not."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from tests.prove.growth import recover

from irt_analytics.jobs._growth import (
    ASSUMED_MEAN,
    ASSUMED_SD,
    MIN_LEARNERS,
    CohortGrowth,
    estimate_cohort,
    growth_in_accuracy,
    posterior_growth,
)

# Thirteen trials of BCG vaccine (Colditz et al., 1994): positive and negative, vaccinated then control.
BCG = np.array(
    [
        (4, 119, 11, 128),
        (6, 300, 29, 274),
        (3, 228, 11, 209),
        (62, 13536, 248, 12619),
        (33, 5036, 47, 5761),
        (180, 1361, 372, 1079),
        (8, 2537, 10, 619),
        (505, 87886, 499, 87892),
        (29, 7470, 45, 7232),
        (17, 1699, 65, 1600),
        (186, 50448, 141, 27197),
        (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ],
    dtype=float,
)


def test_dersimonian_laird_matches_metafor_on_the_bcg_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """R metafor's rma(method = "DL"): -0.7141 (SE 0.1787), tau^2 0.3088 (SE 0.2299)."""
    monkeypatch.setattr("irt_analytics.jobs._growth.MIN_LEARNERS", 13)
    treated_yes, treated_no, control_yes, control_no = BCG.T
    treated, control = treated_yes + treated_no, control_yes + control_no
    log_ratio = np.log((treated_yes / treated) / (control_yes / control))
    se = np.sqrt(1 / treated_yes - 1 / treated + 1 / control_yes - 1 / control)
    cohort = estimate_cohort(log_ratio, se)
    assert cohort.m == pytest.approx(-0.7141, abs=5e-5)
    assert cohort.se_m == pytest.approx(0.1787, abs=5e-5)
    assert cohort.tau**2 == pytest.approx(0.3088, abs=5e-5)
    assert cohort.se_tau_squared == pytest.approx(0.2299, abs=5e-5)


def test_small_cohorts_use_the_assumed_prior() -> None:
    growth = np.linspace(-1, 2, MIN_LEARNERS - 1)
    cohort = estimate_cohort(growth, np.full(len(growth), 0.1))
    assert (cohort.m, cohort.tau) == (ASSUMED_MEAN, ASSUMED_SD) == (0.0, 0.3)
    posterior = posterior_growth(np.array([0.6]), np.array([0.3]), cohort)
    assert posterior["value"].item() == pytest.approx(0.3)
    half_width = 1.959964 * np.sqrt(0.045)
    assert posterior["upper"].item() == pytest.approx(0.3 + half_width)
    assert posterior["pr_positive"].item() == pytest.approx(stats.norm.cdf(0.3 / np.sqrt(0.045)))


def test_a_standard_error_that_is_no_error_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        estimate_cohort(np.zeros(30), np.r_[np.ones(29), 0.0])


def test_variance_averages_over_the_uncertainty_of_tau() -> None:
    """The 16-point rule against numerical integration of the same mixture."""
    cohort = CohortGrowth(m=0.1, tau=0.2, se_m=0.03, se_tau_squared=0.05)
    d, se = 0.9, 0.5
    plugged = (0.04 * d + 0.25 * 0.1) / 0.29
    truncated = stats.truncnorm(-0.04 / 0.05, np.inf, loc=0.04, scale=0.05)

    def second_moment(tau_squared: float) -> float:
        share = 0.25 / (tau_squared + 0.25)
        mean = (1 - share) * d + share * 0.1
        variance = tau_squared * share + (share * 0.03) ** 2 + (mean - plugged) ** 2
        return float(variance * truncated.pdf(tau_squared))

    variance = integrate.quad(second_moment, 0, 0.5)[0]
    posterior = posterior_growth(np.array([d]), np.array([se]), cohort)
    assert posterior["value"].item() == pytest.approx(plugged)
    width = (posterior["upper"] - posterior["lower"]).item()
    assert width == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=0.02)


def test_values_and_intervals_stay_within_the_limit() -> None:
    wide = CohortGrowth(m=0.0, tau=3.0, se_m=0.0, se_tau_squared=0.0)
    posterior = posterior_growth(np.array([-4.0, 4.0]), np.array([0.4, 0.4]), wide)
    assert posterior["value"].tolist() == [-1.0, 1.0]
    assert posterior[["lower", "upper"]].abs().to_numpy().max() == 1.0


@pytest.mark.parametrize(
    ("learners", "tau", "least", "most"),
    [(40, 0.0, 0.93, 1.0), (300, 0.06, 0.93, 1.0), (300, 0.3, 0.91, 0.97), (3000, 0.3, 0.94, 0.965)],
)
def test_planted_growth_is_recovered_and_covered(learners: int, tau: float, least: float, most: float) -> None:
    """With the error sizes of real fortnights 95 % intervals must cover, also where tau is too small to be found.

    Plugging the estimates in as if they were known covers half of the true values in the first two rows.
    """
    rng = np.random.default_rng(7)
    means, taus, covered = [], [], []
    for _ in range(100):
        truth = rng.normal(0.05, tau, learners)
        se = rng.uniform(0.35, 1.2, learners)
        growth = rng.normal(truth, se)
        cohort = estimate_cohort(growth, se)
        means.append(cohort.m)
        taus.append(cohort.tau**2)
        posterior = posterior_growth(growth, se, cohort)
        covered.append(((posterior["lower"] <= truth) & (truth <= posterior["upper"])).mean())
    assert abs(np.mean(means) - 0.05) < 4 * stats.sem(means)
    if tau == 0.3:  # a smaller tau^2 comes out too high on average, for estimates below 0 are cut off
        assert abs(np.mean(taus) - tau**2) < 4 * stats.sem(taus)
    assert least < np.mean(covered) <= most


def test_agresti_caffo_interval_of_a_published_example() -> None:
    """7 of 34 against 1 of 34: (0.0116, 0.3217), as R PropCIs' wald2ci(adjust = "AC") gives."""
    counts = pd.DataFrame(
        {
            "n_recent": [34],
            "x_recent": [7],
            "e_recent": [3.0],
            "n_previous": [34],
            "x_previous": [1],
            "e_previous": [3.0],
        }
    )
    growth = growth_in_accuracy(counts).iloc[0]
    assert growth["raw"] == pytest.approx(6 / 34)
    assert (growth["lower"], growth["upper"]) == pytest.approx((0.01161167, 0.32172166), abs=1e-7)


def test_harder_items_are_no_loss_of_accuracy() -> None:
    """A learner who does as well as others on both sets of items has not declined."""
    counts = pd.DataFrame(
        {
            "n_recent": [40],
            "x_recent": [10],
            "e_recent": [10.0],
            "n_previous": [40],
            "x_previous": [30],
            "e_previous": [30.0],
        }
    )
    growth = growth_in_accuracy(counts).iloc[0]
    assert growth["value"] == 0
    assert growth["pr_positive"] == 0.5


@pytest.mark.parametrize(("answers", "tau"), [(8, 0.0), (8, 0.3), (20, 0.3)])
def test_error_of_growth_is_right_and_differences_between_learners_are_found(answers: int, tau: float) -> None:
    """With errors taken at each window's own estimate these cohorts have tau = 0 and one I_t for everybody."""
    found = [recover(800, answers, tau, seed) for seed in range(5)]
    assert 0.93 < np.mean([run.raw_coverage for run in found]) < 0.97
    assert 0.85 < np.mean([run.squared_z for run in found]) < 1.15
    assert np.mean([run.coverage for run in found]) > 0.85
    if tau:
        assert 0.2 < np.mean([run.tau for run in found]) < 0.4
