"""Client of r-forecast-plumber: churn by R survival, weekly forecasts by R prophet."""

from collections.abc import Callable
from datetime import date
from typing import ClassVar

from irt_analytics.clients.base import FitStatus, Request, Result, RServiceClient, ServiceName


class SurvivalFitRequest(Request):
    """Learners at past landmarks, one row each, and the learners whose risk is asked for (`scored_`), one row each.

    Attributes:
        learner: number of the learner.
        landmark: the landmark's day, counted from as_of (below 0).
        time: days from the landmark's end to the next activity, or to the end of as_of.
        event: 1 where there was activity, 0 where there was none up to as_of.
        sessions: sessions in the 28 days that end with the landmark; the other covariates are of these days too.
        mean_gap: mean days between sessions, the open gap among them.
        days_since_last: days since the last day with an answer.
        answers: answers.
        r_t: R_t, None where it is not known.
        horizon_days: the risk is that of no activity within so many days.
        ridge: penalty on half the sum of the squared coefficients of the standardised covariates.
    """

    learner: list[int]
    landmark: list[int]
    time: list[float]
    event: list[int]
    sessions: list[int]
    mean_gap: list[float]
    days_since_last: list[int]
    answers: list[int]
    r_t: list[float | None]
    scored_sessions: list[int]
    scored_mean_gap: list[float]
    scored_days_since_last: list[int]
    scored_answers: list[int]
    scored_r_t: list[float | None]
    horizon_days: int = 14
    ridge: float = 1.0


class SurvivalEvaluation(Result):
    """How good the risks were on held-out landmarks; where that cannot be told, `reason` says why.

    AUC, Brier score and calibration slope come with the ends of their 95 % intervals, clustered by learner; `compared`
    has those of rival forecasts, and the model's less the rival's.
    """

    landmarks: list[int]
    n_train: int
    n_train_events: int
    n_test: int
    n_test_events: int
    reason: str | None = None
    auc: float | None = None
    auc_lower: float | None = None
    auc_upper: float | None = None
    brier: float | None = None
    brier_lower: float | None = None
    brier_upper: float | None = None
    calibration_slope: float | None = None
    calibration_slope_lower: float | None = None
    calibration_slope_upper: float | None = None
    mean_predicted: float | None = None
    mean_observed: float | None = None
    calibration: dict[str, list[float]] | None = None
    compared: dict[str, dict[str, float]] | None = None


class SurvivalFitResult(Result):
    """The model, how good it is, and the risk of each scored learner with the ends of its 95 % interval.

    `covariates`, `dropped` and `evaluation.calibration` are columns of equal length by name.
    """

    n_learners: int
    n_landmarks: int
    n_rows: int
    n_events: int
    horizon_days: int
    ridge: float
    covariates: dict[str, list[float | str]]
    dropped: dict[str, list[str]]
    baseline: dict[str, float]
    evaluation: SurvivalEvaluation
    risk: list[float]
    risk_lower: list[float]
    risk_upper: list[float]
    engine_versions: dict[str, str]
    warnings: list[str]


class ProphetFitRequest(Request):
    """Weekly series, a row a series and week.

    Attributes:
        series: name of the row's series.
        week: its Monday; a missing week has no row.
        value: the week's value.
        se: its standard error.
        last_week: Monday of the last week known; forecasts begin after it.
        horizon: weeks forecast.
        level: share of weeks that the intervals are to hold.
        threshold: |z| from which a week is an anomaly.
    """

    series: list[str]
    week: list[date]
    value: list[float]
    se: list[float]
    last_week: date
    horizon: int
    level: float
    threshold: float


class SeriesSummaries(Result):
    """A row a series; `reason` where it has no forecast, and then no figures.

    `scale` is the sd of a week's noise, `coverage` the share of past weeks that the interval made from the other
    forecasts held, `mae` the mean absolute error one week ahead.
    """

    series: list[str]
    n_weeks: list[int]
    n_origins: list[int]
    n_withheld: list[int | None]
    scale: list[float | None]
    coverage: list[float | None]
    mae: list[float | None]
    reason: list[str | None]


class WidthCalibrations(Result):
    """A row a series and horizon: half width of the interval in scales of the noise, from `n` past forecasts.

    `coverage` is None where fewer than two forecasts could be judged, such as one week ahead of every second week.
    """

    series: list[str]
    horizon: list[int]
    n: list[int]
    factor: list[float]
    coverage: list[float | None]


class WeeksForecast(Result):
    """A row a series and week to come."""

    series: list[str]
    horizon: list[int]
    week: list[date]
    forecast: list[float]
    lower: list[float]
    upper: list[float]


class WeeksJudged(Result):
    """A row a series and week of the history; `expected`, `sd` and `z` are null where too few weeks lie before."""

    series: list[str]
    week: list[date]
    observed: list[float]
    expected: list[float | None]
    sd: list[float | None]
    z: list[float | None]
    anomaly: list[bool]


class ProphetFitResult(Result):
    """Forecasts, and verdicts on past weeks, of the series long enough."""

    series: SeriesSummaries
    calibration: WidthCalibrations
    forecast: WeeksForecast
    history: WeeksJudged
    engine_versions: dict[str, str]
    warnings: list[str]


class RForecastClient(RServiceClient):
    """Fits the churn model and the weekly forecasts."""

    name: ClassVar[ServiceName] = "forecast"

    async def fit_survival(
        self, request: SurvivalFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> SurvivalFitResult:
        """Return the churn model of one set of landmarks, its evaluation and its risks."""
        return await self._fit("/survival/fit", request, SurvivalFitResult, on_progress)

    async def fit_prophet(
        self, request: ProphetFitRequest, on_progress: Callable[[FitStatus], None] | None = None
    ) -> ProphetFitResult:
        """Return forecasts and anomalies of a set of weekly series."""
        return await self._fit("/prophet/fit", request, ProphetFitResult, on_progress)
