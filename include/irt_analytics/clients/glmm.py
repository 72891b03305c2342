"""Client of r-glmm-plumber: the generalised linear mixed model of answers, by R lme4."""

from collections.abc import Callable
from typing import ClassVar, Literal

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class GlmmFitRequest(Request):
    """What /glmm/fit is asked: columns of one table, a row the answers of a learner on an item (or topic) in a week.

    Attributes:
        learner, topic, item: names; without `item` the model has no item effects.
        week: in weeks; the intercept is that of week 0.
        correct, answers: right answers, and answers.
        offset: known part of the log-odds.
        level: confidence level of the Wald intervals; 0.95 where it is None.
    """

    learner: list[str]
    topic: list[str]
    week: list[float]
    correct: list[int]
    answers: list[int]
    item: list[str] | None = None
    offset: list[float] | None = None
    level: float | None = None


class Optimizer(Result):
    """What maximised the likelihood."""

    name: str
    evaluations: int
    tolPwrss: float  # noqa: N815 - lme4's name
    week_unit: float
    ordering: Literal["AMD", "natural"]


class FixedEffects(Result):
    """Fixed effects in log-odds (a week, for the slope), with Wald tests and intervals; columns of one table."""

    term: list[str]
    estimate: list[float]
    se: list[float | None]
    z: list[float | None]
    p: list[float | None]
    lower: list[float | None]
    upper: list[float | None]


class RandomEffects(Result):
    """Standard deviations between the levels of a group, and the correlation with its intercept; columns."""

    group: list[str]
    term: list[str]
    sd: list[float]
    correlation: list[float | None]


class TopicEffects(Result):
    """Conditional modes of topics, their conditional standard deviations, and answers; columns of one table."""

    topic: list[str]
    effect: list[float]
    se: list[float]
    n: list[int]


class GlmmCoefficients(Result):
    """What scoring needs of a fit: fields of `GlmmPredictRequest`."""

    intercept: float
    slope: float
    intercept_variance: float
    slope_variance: float
    covariance: float
    topics: list[str]
    topic_effects: list[float]
    items: list[str] | None = None
    item_effects: list[float] | None = None


class GlmmFitResult(Result):
    """What /glmm/fit answers."""

    formula: str
    n_rows: int
    n_answers: int
    n_learners: int
    n_topics: int
    n_items: int | None
    converged: bool
    singular: bool
    messages: list[str]
    optimizer: Optimizer
    fixed: FixedEffects
    random: RandomEffects
    topics: TopicEffects
    coefficients: GlmmCoefficients
    log_likelihood: float
    aic: float
    bic: float
    engine_versions: dict[str, str]
    warnings: list[str]


class GlmmPredictRequest(Request):
    """What /glmm/predict is asked: the coefficients of a fit, what to score, and what the learners answered so far.

    Attributes:
        intercept ... item_effects: as in `GlmmFitResult.coefficients`.
        at_learner, at_week, at_topic, at_item, at_offset: what to score; columns of one table.
        learner ... offset: the learners' answers, as in `GlmmFitRequest`; None where there are none.
    """

    intercept: float
    slope: float
    intercept_variance: float
    slope_variance: float
    covariance: float
    topics: list[str]
    topic_effects: list[float]
    at_learner: list[str]
    at_week: list[float]
    at_topic: list[str]
    items: list[str] | None = None
    item_effects: list[float] | None = None
    at_item: list[str] | None = None
    at_offset: list[float] | None = None
    learner: list[str] | None = None
    topic: list[str] | None = None
    week: list[float] | None = None
    correct: list[int] | None = None
    answers: list[int] | None = None
    item: list[str] | None = None
    offset: list[float] | None = None


class LearnerEffects(Result):
    """Learners' deviations from the mean learner, their standard errors, and answers behind them; columns."""

    learner: list[str]
    intercept: list[float]
    slope: list[float]
    intercept_se: list[float]
    slope_se: list[float]
    n_answers: list[int]


class GlmmPredictResult(Result):
    """What /glmm/predict answers; log_odds, se and probability have one value for each row of the request."""

    log_odds: list[float]
    se: list[float]
    probability: list[float]
    learners: LearnerEffects
    unknown_topics: list[str]
    unknown_items: list[str]
    warnings: list[str]


class RGlmmClient(RServiceClient):
    """Fits the GLMM and scores with its coefficients."""

    name: ClassVar[ServiceName] = "glmm"

    async def fit(
        self, request: GlmmFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> GlmmFitResult:
        """Return the fit of one set of answers."""
        return await self._fit("/glmm/fit", request, GlmmFitResult, on_progress)

    async def predict(self, request: GlmmPredictRequest) -> GlmmPredictResult:
        """Return what a kept fit predicts."""
        return await self._call("/glmm/predict", request, GlmmPredictResult)
