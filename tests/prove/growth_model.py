"""Cohorts whose lines of ability are known and whose answers are simulated, and what the growth model says of them."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from irt_analytics import clients
from irt_analytics.clients.brms import GrowthFitResult
from irt_analytics.jobs._evidence import Bank, Evidence, week_theta
from irt_analytics.jobs._growth_posterior import Population, chunks, learner_lines
from irt_analytics.jobs.fit_bayesian_growth import (
    LEARNERS_FITTED,
    MAX_VARIANCE,
    MIN_WEEKS,
    Abilities,
    choose_sample,
    make_request,
    population_of,
    score,
)

Floats = npt.NDArray[np.float64]

FIRST_MONDAY = date(2026, 1, 5)
ITEMS = 2000
ROUTING_SD = 0.7  # learners meet items near their ability
PRIOR = (0.0, 0.9)


@dataclass(frozen=True)
class Planted:
    """How the lines of a cohort's learners are distributed; week 0 is the middle of the weeks."""

    intercept: float = 0.1
    slope: float = 0.03
    sd_intercept: float = 0.8
    sd_slope: float = 0.05
    correlation: float = 0.0
    sigma: float = 0.1


@dataclass(frozen=True, eq=False)
class GrowthCohort:
    """Weekly abilities from simulated answers, in the columns of student_week_theta, and each learner's line."""

    weekly: pd.DataFrame
    lines: pd.DataFrame
    weeks: int
    planted: Planted = field(default_factory=Planted)

    @property
    def mondays(self) -> list[date]:
        return [FIRST_MONDAY + timedelta(weeks=week) for week in range(self.weeks)]

    @property
    def last_day(self) -> date:
        return FIRST_MONDAY + timedelta(days=7 * self.weeks - 1)

    def theta(self, users: Any, week: float) -> Floats:
        """True ability on the learners' lines at a week of the model's axis."""
        lines = self.lines.reindex(users)
        return np.asarray(lines["intercept"] + week * lines["slope"], dtype=np.float64)

    def abilities(self) -> Abilities:
        """What the job makes of these rows."""
        rows = self.weekly[self.weekly["v"] <= MAX_VARIANCE]
        rows = rows[rows.groupby("user_id")["y"].transform("size") >= MIN_WEEKS]
        users, learner = np.unique(rows["user_id"].to_numpy(dtype=object), return_inverse=True)
        y, v = np.zeros((len(users), self.weeks)), np.full((len(users), self.weeks), np.inf)
        y[learner, rows["week"]], v[learner, rows["week"]] = rows["y"], rows["v"]
        return Abilities(users, self.mondays, y, v, np.bincount(learner, rows["n"]).astype(np.int64))


def simulate(
    learners: int, answers: int, seed: int, weeks: int = 8, planted: Planted | None = None, active: float = 0.85
) -> GrowthCohort:
    """Simulate answers of learners to items of fitting difficulty, so many in each week in which they are active."""
    planted = planted or Planted()
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(0.1, 0.3, ITEMS), np.sort(rng.normal(0.0, 1.2, ITEMS))
    z0, z1 = rng.normal(size=(2, learners))
    intercept = planted.intercept + planted.sd_intercept * z0
    r = planted.correlation
    slope = planted.slope + planted.sd_slope * (r * z0 + np.sqrt(1.0 - r**2) * z1)
    axis = np.arange(weeks) - (weeks - 1) / 2
    theta = intercept[:, None] + slope[:, None] * axis + rng.normal(0.0, planted.sigma, (learners, weeks))
    # Distinct items a learner-week: neighbours in difficulty of a random one near the learner's ability.
    wanted = rng.normal(intercept[:, None, None], ROUTING_SD, (learners, weeks, answers))
    item = np.sort(np.searchsorted(b, wanted), axis=2) + np.arange(answers)
    item = np.clip(item, np.arange(answers), ITEMS - answers + np.arange(answers))
    correct = rng.random(item.shape) < expit(a[item] * (theta[:, :, None] - b[item]))
    seen = rng.random((learners, weeks)) < active
    student, week = np.nonzero(seen)
    names = pd.Index([f"s{i:06d}" for i in range(learners)])
    evidence = Evidence(
        item_ids=pd.RangeIndex(ITEMS),
        topic_ids=pd.Index(["t"]),
        student=np.repeat(student, answers),
        item=item[seen].ravel().astype(np.int32),
        topic=np.zeros(len(student) * answers, dtype=np.int64),
        day=np.repeat(7 * week, answers),
        correct=correct[seen].ravel(),
    )
    bank = Bank("planted", FIRST_MONDAY, pd.DataFrame({"item_id": range(ITEMS), "a": a, "b": b}), PRIOR)
    weekly = week_theta(evidence, bank, 7 * np.arange(weeks)).rename(columns={"week_start": "week"})
    weekly["user_id"] = names.take(weekly.pop("student").to_numpy())
    lines = pd.DataFrame({"intercept": intercept, "slope": slope}, index=names)
    return GrowthCohort(weekly, lines, weeks, planted)


def fit(
    service: clients.ServiceAddress, abilities: Abilities, seed: int, size: int = LEARNERS_FITTED
) -> GrowthFitResult:
    """Sample the population on a sample of the learners, as the job does."""
    sample, _ = choose_sample(abilities.user_ids, abilities.n_weeks, size)
    request = make_request(abilities, sample, seed)

    async def ask() -> GrowthFitResult:
        async with clients.RBrmsClient(service) as client:
            return await client.fit_growth(request)

    return clients.run(ask)


def judge(cohort: GrowthCohort, abilities: Abilities, result: GrowthFitResult, weeks_ahead: int = 4) -> pd.DataFrame:
    """Score every learner, every other one with a goal, beside what is true of them.

    Returns:
        A row a learner: p, p_kind, whether it came true, and whether the 90 % intervals of the slope and of theta at
        the last day hold the truth.
    """
    users = abilities.user_ids
    population, _ = population_of(result, abilities, seed=1)
    last_day = cohort.last_day
    target_date = last_day + timedelta(weeks=weeks_ahead)
    has_goal = np.arange(len(users)) % 2 == 1
    target = cohort.planted.intercept + np.linspace(-1.0, 1.0, len(users))
    goals = pd.DataFrame(
        {
            "target_theta": np.where(has_goal, target, np.nan),
            "target_date": [target_date if goal else None for goal in has_goal],
        }
    )
    scored = score(abilities, population, goals, last_day)
    slope = cohort.lines["slope"].reindex(users).to_numpy()
    then = cohort.theta(users, abilities.week_of(target_date))
    return scored.assign(
        came_true=np.where(has_goal, then >= target, slope > 0.0),
        slope_held=held(population, abilities, slope),
        theta_held=held(population, abilities, cohort.theta(users, abilities.week_of(last_day)), last_day),
    )


def held(population: Population, abilities: Abilities, truth: Floats, day: date | None = None) -> npt.NDArray[np.bool_]:
    """Whether learners' 90 % intervals, of ability at a day or else of the slope, hold the truth."""
    found = np.zeros(len(truth), dtype=bool)
    for part in chunks(len(truth)):
        lines = learner_lines(population, abilities.weeks, abilities.y[part], abilities.v[part])
        mixture = lines.slopes() if day is None else lines.at(abilities.week_of(day))
        found[part] = (mixture.quantile(0.05) <= truth[part]) & (truth[part] <= mixture.quantile(0.95))
    return found


def calibration(judged: pd.DataFrame) -> pd.DataFrame:
    """Mean P and share that came true by decile of P."""
    decile = pd.qcut(judged["p"].rank(method="first"), 10, labels=False)
    table = judged.groupby(decile).agg(predicted=("p", "mean"), observed=("came_true", "mean"), n=("p", "size"))
    return table.assign(difference=table["predicted"] - table["observed"])


def known(planted: Planted) -> Population:
    """The population planted, as one draw."""
    return Population(*(np.array([getattr(planted, name)]) for name in Population.__dataclass_fields__))


def coverage(answers: int, weeks: int = 8, learners: int = 20_000, weeks_ahead: int = 4) -> dict[str, float]:
    """Share of 90 % intervals that hold the slope, and ability some weeks ahead, where the population is known."""
    cohort = simulate(learners, answers, seed=answers, weeks=weeks)
    abilities, population = cohort.abilities(), known(cohort.planted)
    day = cohort.last_day + timedelta(weeks=weeks_ahead)
    theta = cohort.theta(abilities.user_ids, abilities.week_of(day))
    slope = cohort.lines["slope"].reindex(abilities.user_ids).to_numpy()
    return {
        "answers": answers,
        "learners": len(abilities.user_ids),
        "slopes held": float(held(population, abilities, slope).mean()),
        "theta held": float(held(population, abilities, theta, day).mean()),
    }


def power(answers: int, weeks: int, learners: int = 4000, planted: Planted | None = None) -> dict[str, float]:
    """What so many weeks of so many answers tell of growth where the population is known.

    Returns:
        reliability: share of the variance of slopes that learners' posterior means have.
        decided: share of learners whose Pr(slope > 0) is under 0.1 or over 0.9.
        learners_needed: learners from whom the mean slope is known with a standard error of a fifth of the sd between
            learners, by generalised least squares.
    """
    planted = planted or Planted()
    abilities = simulate(learners, answers, seed=weeks * 100 + answers, weeks=weeks, planted=planted).abilities()
    lines = learner_lines(known(planted), abilities.weeks, abilities.y, abilities.v)
    p = lines.slopes().at_least(0.0)
    # A learner's line is as good as its prior plus Z'WZ: what it says of the mean is (Sigma + (Z'WZ)^-1)^-1.
    w = 1.0 / (abilities.v + planted.sigma**2)
    z = np.stack([np.ones_like(abilities.weeks), abilities.weeks], axis=-1)
    own = np.linalg.inv(np.einsum("nt,ti,tj->nij", w, z, z))
    off = planted.correlation * planted.sd_intercept * planted.sd_slope
    between = np.array([[planted.sd_intercept**2, off], [off, planted.sd_slope**2]])
    mean_variance = np.linalg.inv(np.linalg.inv(between + own).sum(axis=0))[1, 1]
    return {
        "answers": answers,
        "weeks": weeks,
        "reliability": float(1.0 - (lines.var_slope / planted.sd_slope**2).mean()),
        "decided": float(((p < 0.1) | (p > 0.9)).mean()),
        "learners_needed": float(len(abilities.user_ids) * mean_variance / (0.2 * planted.sd_slope) ** 2),
    }
