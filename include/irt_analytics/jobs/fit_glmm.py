"""Growth of the cohort, and how hard its topics are, by a binomial mixed model that r-glmm-plumber fits.

    log-odds of a right answer ~ week + (week | learner) + (1 | topic) + (1 | item)

over the first attempts of the last glmm_weeks weeks. week counts whole weeks before as_of (0 is the seven days that end
with it, then -1, -2, ...), so that the intercept is the cohort's log-odds now and the slope its growth a week.

Where items are routed by ability, and above 2,000 items, an offset takes the place of (1 | item): the log-odds of a
right answer that the published parameters give at the cohort's mean ability mu. For the 2PL that is a (mu - b), the
first term of a (theta - b) = a (mu - b) + a (theta - mu); the second is the learner's part, in which a is replaced by
its mean. (1 | item) would take items and learners as met at random, and where abler learners meet harder items it finds
too little spread of both, by a quarter and more; with the offset it is found (docs/models.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit

from irt_analytics import clients, db
from irt_analytics.clients.glmm import GlmmFitRequest, GlmmFitResult
from irt_analytics.errors import Skip
from irt_analytics.jobs._attempts import RAPID_SHARE, InvalidAnswers
from irt_analytics.jobs._glmm_sample import Sample, draw_sample
from irt_analytics.jobs._results import records, replace_day, run_id
from irt_analytics.runner import Job, JobContext

#: Above this many items they are an offset.
MAX_RANDOM_ITEMS = 2_000
#: Items are routed where a learner one log-odds abler meets items harder by more than this.
ROUTED_FROM = 0.1
#: Answers of a learner that say something of ability, for that question.
ROUTING_ANSWERS = 5
#: Learners with answers in two or more weeks, weeks, topics and items under which the model is not fitted: a standard
#: deviation between fewer than five levels is hardly more than a guess (docs/models.md has the power of larger ones).
MIN_LEARNERS = 50
MIN_WEEKS = 3
MIN_TOPICS = 5
MIN_ITEMS = 5

PARAMETERS = ("glmm_weeks", "invalid_answers")

ItemTerm = Literal["random", "offset"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model is fitted to.

    Attributes:
        rows: learner, topic, item, week, outcome, log_odds_at_mean; one row a learner and item.
        item_term: whether items are random effects or an offset.
        item_reason: why they are an offset; None where they are not.
        sample: the sample of learners that they are of; None for all.
    """

    rows: pd.DataFrame
    item_term: ItemTerm
    item_reason: str | None
    sample: Sample | None


def run(context: JobContext) -> None:
    """Write growth_glmm_meta of the day.

    Raises:
        Skip: too little data, or no service; growth_glmm_meta says why.
        RefusedError: lme4 cannot fit the model.
    """
    first_day = context.as_of - timedelta(days=7 * context.params.glmm_weeks - 1)
    answers = _load(context, first_day)
    meta = _describe(context, first_day, answers)
    try:
        _skip_small(answers.rows)
        service = clients.address(context.settings, "glmm")
        request = make_request(answers)

        async def fit() -> GlmmFitResult:
            async with clients.RGlmmClient(service) as client:
                return await client.fit(request)

        result = clients.run(fit)
    except Skip as skip:
        replace_day(context, "growth_glmm_meta", pd.DataFrame([meta | {"status": "skipped", "reason": str(skip)}]))
        raise Skip(str(skip), keep_writes=True) from None
    meta |= {"status": "success", "reason": None} | summarise(result, _published(answers.rows))
    replace_day(context, "growth_glmm_meta", pd.DataFrame([meta]))


def _load(context: JobContext, first_day: date) -> Answers:
    """Read the window's first attempts, record which do not count, and sample learners where there are many."""
    connection, record = context.connection, context.record
    invalid_answers = context.params.invalid_answers
    db.execute(
        connection,
        "glmm/create_answer",
        tenant_id=context.tenant,
        first_day=first_day,
        as_of=context.as_of,
        rapid_share=RAPID_SHARE,
        invalid_answers=invalid_answers,
    )
    connection.execute("analyze glmm_answer")
    counts = db.read_frame(connection, "glmm/counts").iloc[0]
    record.read("attempt", int(counts["answers"]))
    InvalidAnswers(int(counts["timed_out"]), int(counts["rapid"])).exclude_from(record, invalid_answers)
    record.exclude("answers without a topic", int(counts["without_topic"]))
    record.exclude("answers to items outside the bank", int(counts["outside_bank"]), "no known difficulty")
    sample = draw_sample(db.read_frame(connection, "glmm/learners"))
    if sample is not None:
        left_out = sample.description["learners"] - sample.description["drawn"]
        record.exclude("learners outside the sample", left_out, sample.description["reason"])
    rows = db.read_frame(connection, "glmm/answers", learners=None if sample is None else sample.learners)
    reason = why_offset(rows)
    return Answers(rows, "random" if reason is None else "offset", reason, sample)


def why_offset(rows: pd.DataFrame) -> str | None:
    """Return why items cannot be random effects; None where they can."""
    n_items = rows["item"].nunique()
    if n_items > MAX_RANDOM_ITEMS:
        return f"{n_items:,} items, more than {MAX_RANDOM_ITEMS:,}"
    routing = estimate_routing(rows)
    if routing > ROUTED_FROM:
        return f"items are routed: a learner one log-odds abler meets items {routing:.2f} log-odds harder"
    return None


def estimate_routing(rows: pd.DataFrame) -> float:
    """By how many log-odds the items of a learner are harder who is one log-odds abler; 0 where nothing says so.

    The slope of learners' mean item difficulty on their ability, the latter by one Newton step from the mean ability:
    the sum of residuals over that of variances.
    """
    easiness = rows["log_odds_at_mean"].to_numpy(dtype=np.float64)
    p = expit(easiness)
    residual = rows["outcome"].to_numpy(dtype=np.float64) - p
    answers = pd.DataFrame({"learner": rows["learner"], "easiness": easiness, "residual": residual, "v": p * (1.0 - p)})
    learners = answers.groupby("learner").agg(
        n=("easiness", "size"), easiness=("easiness", "mean"), residual=("residual", "sum"), v=("v", "sum")
    )
    learners = learners[learners["n"] >= ROUTING_ANSWERS]
    ability = learners["residual"] / learners["v"]
    if len(learners) < MIN_LEARNERS or ability.var() == 0.0:
        return 0.0
    return float(-ability.cov(learners["easiness"]) / ability.var())


def _published(rows: pd.DataFrame) -> pd.Series[float]:
    """Mean log-odds of each topic's items at the mean ability, by topic."""
    items = rows[["topic", "item", "log_odds_at_mean"]].drop_duplicates(["topic", "item"])
    means: pd.Series[float] = items.groupby("topic")["log_odds_at_mean"].mean().astype(float)
    return means


def _skip_small(rows: pd.DataFrame) -> None:
    """Raise a skip that names the numbers where the data cannot carry the model."""
    weeks_of = rows.groupby("learner")["week"].nunique()
    found = {
        "learners with answers in two weeks": (int((weeks_of >= 2).sum()), MIN_LEARNERS),
        "weeks with answers": (rows["week"].nunique(), MIN_WEEKS),
        "topics": (rows["topic"].nunique(), MIN_TOPICS),
        "items": (rows["item"].nunique(), MIN_ITEMS),
    }
    short = [f"{n:,} {what} (needs {least})" for what, (n, least) in found.items() if n < least]
    if short:
        raise Skip("; ".join(["too little for the mixed model", *short]))


def make_request(answers: Answers) -> GlmmFitRequest:
    """Ask for the fit; learners go as numbers, for their names matter to nobody there."""
    rows, random = answers.rows, answers.item_term == "random"
    learner = pd.factorize(rows["learner"])[0]
    return GlmmFitRequest(
        learner=learner.astype(str).tolist(),
        topic=rows["topic"].astype(str).tolist(),
        week=rows["week"].astype(float).tolist(),
        correct=rows["outcome"].astype(int).tolist(),
        answers=[1] * len(rows),
        item=rows["item"].astype(str).tolist() if random else None,
        offset=None if random else rows["log_odds_at_mean"].astype(float).tolist(),
    )


def _describe(context: JobContext, first_day: date, answers: Answers) -> dict[str, Any]:
    rows = answers.rows
    parameters = {name: getattr(context.params, name) for name in PARAMETERS}
    return {
        "run_id": run_id(context, parameters, answers.item_term.encode(), rows.to_csv(index=False).encode()),
        "first_day": first_day,
        "item_term": answers.item_term,
        "item_reason": answers.item_reason,
        "n_learners": rows["learner"].nunique(),
        "n_weeks": rows["week"].nunique(),
        "n_topics": rows["topic"].nunique(),
        "n_items": rows["item"].nunique(),
        "n_answers": len(rows),
        "n_rows": len(rows),
        "sampled": answers.sample is not None,
        "sample": None if answers.sample is None else answers.sample.description,
        "parameters": parameters,
    }


def summarise(result: GlmmFitResult, published: pd.Series[float]) -> dict[str, Any]:
    """Return what growth_glmm_meta keeps of a fit; `published` is the mean log-odds of each topic's items."""
    topics = result.topics.model_dump(exclude={"topic"}) | {
        "topic_id": result.topics.topic,
        "published": published.reindex(result.topics.topic).tolist(),
    }
    return {
        "formula": result.formula,
        "converged": result.converged,
        "singular": result.singular,
        "messages": result.messages,
        "fixed": records(result.fixed.model_dump()),
        "random": records(result.random.model_dump()),
        "topics": records(topics),
        "coefficients": result.coefficients.model_dump(exclude_none=True),
        "log_likelihood": result.log_likelihood,
        "aic": result.aic,
        "bic": result.bic,
        "engine_versions": result.engine_versions,
        "warnings": result.warnings,
    }


JOB = Job(name="fit_glmm", run=run)
