"""P and sigma: how surely a learner reaches the goal, or grows at all, from a multilevel model of weekly abilities.

r-brms-plumber samples how learners' lines are distributed, on a sample of the learners; its draws are brought up to
date with the others, and given them the line of every learner follows in closed form. Week 0 of the model is the middle
of the weeks read.
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from irt_analytics import clients, db
from irt_analytics.clients.brms import GrowthFitRequest, GrowthFitResult
from irt_analytics.errors import Skip
from irt_analytics.jobs import _results as results
from irt_analytics.jobs._growth_population import update_population
from irt_analytics.jobs._growth_posterior import Lines, Mixture, Population, chunks, learner_lines
from irt_analytics.progress import track
from irt_analytics.runner import Job, JobContext

Floats = npt.NDArray[np.float64]

#: Weekly abilities that a learner's line needs.
MIN_WEEKS = 3
#: Learners with a line that a population needs.
MIN_LEARNERS = 50
#: Learners that the population is sampled on: the sampler's time grows with them.
LEARNERS_FITTED = 300
#: Learners that its draws are brought up to date with.
LEARNERS_UPDATED = 20_000
#: Draws of the population that learners' posteriors are mixtures over.
SCORING_DRAWS = 200
#: Days after as_of that the line may be drawn on to.
HORIZON_DAYS = 56
#: A weekly ability with a larger variance (a standard error of 10 logits) says nothing.
MAX_VARIANCE = 100.0
#: From a week's Monday to its middle, the day for which the week's ability stands.
DAYS_TO_MIDDLE = 3
#: Ends of the intervals.
LOWER, UPPER = 0.025, 0.975

#: Params that its numbers depend on: a rerun that differs in others draws the same.
PARAMETERS = ("growth_weeks",)

FEW_WEEKS = f"fewer than {MIN_WEEKS} weeks with answers that tell of ability"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Abilities:
    """Weekly abilities of the learners with enough of them.

    Attributes:
        user_ids: learners, in ascending order.
        mondays: first days of the weeks read, ascending.
        y, v: abilities and their variances, of shape (learners, weeks); 0 and infinity where there is none.
        n_answers: first attempts behind a learner's abilities.
    """

    user_ids: npt.NDArray[np.object_]
    mondays: list[date]
    y: Floats
    v: Floats
    n_answers: npt.NDArray[np.int64]

    @property
    def weeks(self) -> Floats:
        """The weeks on the model's axis."""
        half = (len(self.mondays) - 1) / 2
        return np.linspace(-half, half, len(self.mondays))

    @property
    def n_weeks(self) -> npt.NDArray[np.int64]:
        """Weekly abilities of every learner."""
        return np.asarray(np.isfinite(self.v).sum(axis=1), dtype=np.int64)

    def week_of(self, day: date) -> float:
        """A day on the model's axis."""
        return float(self.weeks[0] + ((day - self.mondays[0]).days - DAYS_TO_MIDDLE) / 7)


def run(context: JobContext) -> None:
    """Write growth_brms_meta and growth_learner of the day, and p and sigma of weekly_kpi.

    Raises:
        Skip: too few learners have enough weeks, or there is no service; growth_brms_meta says why.
    """
    try:
        _fit(context)
    except Skip as skip:
        _save_skip(context, str(skip))
        raise Skip(str(skip), keep_writes=True) from skip


def _fit(context: JobContext) -> None:
    abilities = _load(context)
    evidence = ("\n".join(abilities.user_ids).encode(), abilities.y.tobytes(), abilities.v.tobytes())
    run_id = results.run_id(context, results.parameters(context, PARAMETERS), *evidence)
    sample, strata = choose_sample(abilities.user_ids, abilities.n_weeks, LEARNERS_FITTED)
    service = clients.address(context.settings, "brms")
    request = make_request(abilities, sample, seed=1 + int(run_id[:7], 16))

    async def fit() -> GrowthFitResult:
        async with clients.RBrmsClient(service) as client:
            return await client.fit_growth(request)

    result = clients.run(fit)
    if result.n_learners != len(sample):
        raise RuntimeError(f"{service.label} was sent {len(sample)} learners and fitted {result.n_learners}")
    population, updated = population_of(result, abilities, request.seed)
    goals = db.read_frame(context.connection, "growth/goals", tenant_id=context.tenant).set_index("user_id")
    context.record.read("learner_goal", len(goals))
    learners = score(abilities, population, goals.reindex(abilities.user_ids), context.as_of)
    _save(context, run_id, abilities, strata, result, updated, learners)


def _load(context: JobContext) -> Abilities:
    weeks = context.params.growth_weeks
    last = context.as_of - timedelta(days=context.as_of.weekday())
    mondays = [last - timedelta(weeks=back) for back in range(weeks - 1, -1, -1)]
    rows = db.read_arrow(
        context.settings, "growth/weeks", tenant_id=context.tenant, as_of=context.as_of, first_week=mondays[0]
    ).to_pandas()
    context.record.read("student_week_theta", len(rows))
    telling = rows["v"].le(MAX_VARIANCE)
    context.record.exclude(
        "weekly abilities that say nothing",
        int((~telling).sum()),
        f"no likelihood part, or a variance of more than {MAX_VARIANCE:g}",
    )
    rows = rows[telling]
    n_weeks = rows.groupby("user_id")["week_start"].transform("size")
    enough = rows[n_weeks >= MIN_WEEKS]
    learners = enough["user_id"].nunique()
    few = rows["user_id"].nunique() - learners
    context.record.exclude("learners with too few weeks", few, f"fewer than {MIN_WEEKS} within {weeks} weeks")
    if learners < MIN_LEARNERS:
        raise Skip(
            f"{learners} learners with abilities in {MIN_WEEKS} weeks or more of the {weeks} up to {context.as_of} "
            f"({few} with fewer); growth needs {MIN_LEARNERS}"
        )
    user_ids, learner = np.unique(enough["user_id"].to_numpy(dtype=object), return_inverse=True)
    column = np.array([(day - mondays[0]).days // 7 for day in enough["week_start"]])
    y, v = np.zeros((learners, weeks)), np.full((learners, weeks), np.inf)
    y[learner, column], v[learner, column] = enough["y"], enough["v"]
    n_answers = np.bincount(learner, enough["n"], minlength=learners).astype(np.int64)
    return Abilities(user_ids, mondays, y, v, n_answers)


def choose_sample(
    user_ids: npt.NDArray[np.object_], n_weeks: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.intp], dict[int, int]]:
    """Choose learners to fit: of every number of weeks as large a share as of all, the same ones from day to day.

    Returns:
        Positions of the learners chosen, ascending, and the number of them by number of weeks.
    """
    keys = np.array([hashlib.md5(user.encode(), usedforsecurity=False).hexdigest() for user in user_ids])
    # Within a number of weeks in the order of the hashes; then every so-manieth of all.
    order = np.lexsort((keys, n_weeks))
    picked = np.unique(np.linspace(0, len(order) - 1, min(size, len(order))).round().astype(np.intp))
    chosen = np.sort(order[picked])
    weeks, counts = np.unique(n_weeks[chosen], return_counts=True)
    return chosen, dict(zip(weeks.tolist(), counts.tolist(), strict=True))


def make_request(abilities: Abilities, sample: npt.NDArray[np.intp], seed: int) -> GrowthFitRequest:
    """Ask for the population's growth from the weekly abilities of a sample of the learners."""
    row, column = np.nonzero(np.isfinite(abilities.v[sample]))
    return GrowthFitRequest(
        student=row.tolist(),
        week=abilities.weeks[column].tolist(),
        y=abilities.y[sample][row, column].tolist(),
        v=abilities.v[sample][row, column].tolist(),
        seed=seed,
    )


def population_of(result: GrowthFitResult, abilities: Abilities, seed: int) -> tuple[Population, dict[str, Any] | None]:
    """Draws of the population that learners are scored with, and how they differ from the service's.

    Where the service was sent all learners, they are its own; else they are given (up to `LEARNERS_UPDATED`) all.
    """
    draws = Population(**{name: np.asarray(values) for name, values in result.draws.model_dump().items()})
    if result.n_learners == len(abilities.user_ids):
        return draws.thinned(SCORING_DRAWS), None
    chosen, _ = choose_sample(abilities.user_ids, abilities.n_weeks, LEARNERS_UPDATED)
    population, effective = update_population(
        draws,
        abilities.weeks,
        abilities.y[chosen],
        abilities.v[chosen],
        fitted=result.n_learners,
        seed=seed,
        size=SCORING_DRAWS,
    )
    summary = [
        {
            "term": name,
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "lower": float(np.quantile(values, LOWER)),
            "upper": float(np.quantile(values, UPPER)),
        }
        for name, values in vars(population).items()
    ]
    logger.info("population given %s learners, %.0f effective draws", f"{len(chosen):,}", effective)
    return population, {"learners": len(chosen), "effective_draws": effective, "population": summary}


def score(abilities: Abilities, population: Population, goals: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Every learner's line, and P and sigma at the goal, without a goal those of the slope.

    Ability at a day is that of the line: how single weeks scatter about it is not part of it.

    Args:
        abilities: of the learners to score.
        population: draws, on the axis of `abilities.weeks`.
        goals: target_theta and target_date in the order of the learners, null where one has no goal.
        as_of: the day of the run.

    Returns:
        A row a learner in the columns of growth_learner, without tenant, day and run.
    """
    dates = goals["target_date"].astype(object).where(goals["target_date"].notna(), None).tolist()
    target = goals["target_theta"].to_numpy(dtype=np.float64, na_value=np.nan)
    reason = pd.Series([_goal_reason(day, as_of) for day in dates], dtype=object)
    known = reason.isna()
    at_goal = known.to_numpy() & goals["target_date"].notna().to_numpy()
    ahead = np.array([abilities.week_of(day) if day is not None else 0.0 for day in dates])
    parts: list[pd.DataFrame] = []
    with track("learners scored", len(abilities.user_ids)) as progress:
        for part in chunks(len(abilities.user_ids)):
            lines = learner_lines(population, abilities.weeks, abilities.y[part], abilities.v[part])
            parts.append(_describe(lines, abilities.week_of(as_of), ahead[part], target[part], at_goal[part]))
            progress.advance(len(parts[-1]))
    scored = pd.concat(parts, ignore_index=True)
    kind = pd.Series(np.where(at_goal, "goal", "slope"), dtype=object).where(known, None)
    return scored.assign(
        user_id=abilities.user_ids,
        p=scored["p"].where(known),
        p_kind=kind,
        sigma=scored["sigma"].where(known),
        sigma_kind=kind,
        target_theta=target,
        target_date=pd.Series(dates, dtype=object),
        n_weeks=abilities.n_weeks,
        n_answers=abilities.n_answers,
        draws=len(population.sigma),
        reason=reason,
    )


def _describe(lines: Lines, now: float, ahead: Floats, target: Floats, at_goal: npt.NDArray[np.bool_]) -> pd.DataFrame:
    slope, theta_then = lines.slopes(), lines.at(ahead)
    return pd.DataFrame(
        {
            **_interval("slope", slope),
            "intercept": lines.at(0.0).mean(),
            **_interval("theta_now", lines.at(now)),
            "p": np.where(at_goal, theta_then.at_least(target), slope.at_least(0.0)),
            "sigma": np.where(at_goal, theta_then.sd(), slope.sd()),
        }
    )


def _interval(name: str, mixture: Mixture) -> dict[str, Floats]:
    return {
        name: mixture.mean(),
        f"{name}_lower": mixture.quantile(LOWER),
        f"{name}_upper": mixture.quantile(UPPER),
    }


def _goal_reason(target_date: date | None, as_of: date) -> str | None:
    """Why the goal's probability is not given."""
    if target_date is None:
        return None
    if target_date <= as_of:
        return "the goal's date has passed"
    if target_date > as_of + timedelta(days=HORIZON_DAYS):
        return f"the goal's date is more than {HORIZON_DAYS // 7} weeks ahead"
    return None


def _save(
    context: JobContext,
    run_id: str,
    abilities: Abilities,
    strata: dict[int, int],
    result: GrowthFitResult,
    updated: dict[str, Any] | None,
    learners: pd.DataFrame,
) -> None:
    scored, fitted = len(abilities.user_ids), result.n_learners
    context.record.exclude("learners outside the fitted sample", scored - fitted, "all are scored")
    for reason, count in learners["reason"].value_counts().items():
        context.record.exclude("learners without P", int(count), str(reason))
    sample = {
        "learners": fitted,
        "of": scored,
        "by": "number of weeks, then md5 of user_id",
        "learners_by_weeks": strata,
        "updated": updated,
    }
    meta = {
        "run_id": run_id,
        "status": "success",
        "formula": result.formula,
        "priors": result.priors,
        "weeks": len(abilities.mondays),
        "n_learners_fit": fitted,
        "n_learners_scored": scored,
        "n_rows": result.n_rows,
        "sampled": fitted < scored,
        "sample": sample if fitted < scored else None,
        "population": results.records(result.population.model_dump()),
        "max_rhat": result.max_rhat,
        "divergences": result.divergences,
        "draws": len(result.draws.sigma),
        "sampler": result.sampler,
        "engine_versions": result.engine_versions,
        "warnings": result.warnings,
        "parameters": results.parameters(context, PARAMETERS),
    }
    week_start = abilities.mondays[-1]
    _replace(context, meta, learners.assign(run_id=run_id, week_start=week_start), reason=FEW_WEEKS)


def _save_skip(context: JobContext, reason: str) -> None:
    """Record that the day has no growth, and take away what an earlier try left."""
    meta = {
        "run_id": results.run_id(context, results.parameters(context, PARAMETERS), reason.encode()),
        "status": "skipped",
        "reason": reason,
        "weeks": context.params.growth_weeks,
        "parameters": results.parameters(context, PARAMETERS),
    }
    _replace(context, meta, results.no_rows(), reason=reason)


def _replace(context: JobContext, meta: dict[str, Any], learners: pd.DataFrame, *, reason: str) -> None:
    context.begin_sharing("weekly_kpi")
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    results.replace_day(context, "growth_brms_meta", pd.DataFrame([meta]))
    results.replace_day(context, "growth_learner", learners)
    context.record.wrote("weekly_kpi", db.execute(context.connection, "growth/save_kpi", reason=reason, **day))


JOB = Job(name="fit_bayesian_growth", run=run)
