"""What the report reads: one frozen record a row, in the columns of include/sql/report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

#: Statistics over fewer learners than this are not shown: they would say something of single learners.
MIN_GROUP = 10
#: Learners with growth in theta under which its mean is assumed (0), not estimated.
MIN_MEAN_GROWTH = 20


def monday(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - timedelta(days=day.weekday())


@dataclass(frozen=True)
class JobRun:
    """The newest run of a job for the report's day."""

    job: str
    status: str
    reason: str | None
    error: str | None
    exit_code: int | None
    code_version: str
    parameters: Mapping[str, Any]
    exclusions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Fit:
    """A calibration: the one in force on the day, the one a week before, or one of the day that was not published."""

    role: str
    run_id: str
    as_of: date
    window_start: date
    window_end: date
    window_extended: bool
    window_reason: str | None
    model: str
    engine: str
    engine_version: str
    data_fingerprint: str
    n_persons: int
    n_items: int
    n_responses: int
    converged: bool
    iterations: int
    log_likelihood: float | None
    aic: float | None
    bic: float | None
    latent_mean: float | None
    latent_sd: float | None
    se_method: str | None
    priors: str
    exclusions: Sequence[Mapping[str, Any]]
    linking_constants: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class Item:
    """An item of a published calibration; a, b, c in the logistic metric, D = 1.

    fit_p (adjusted), rmsd and curve (theta, n, observed, expected) say how answers follow it; shift is the log odds
    ratio of a right answer in the second half of the window over the first; depends_on are items it goes together with.
    """

    item_id: str
    topic_id: str | None
    a: float
    b: float
    c: float
    se_a: float | None
    se_b: float | None
    n_responses: int
    p_value: float | None
    infit: float | None
    outfit: float | None
    anchor: bool
    drift_statistic: float | None
    drift_p_value: float | None
    drifted: bool
    status: str
    fit_p: float | None = None
    rmsd: float | None = None
    curve: Sequence[Mapping[str, float]] = ()
    shift: float | None = None
    shifted: bool = False
    depends_on: Sequence[str] = ()


@dataclass(frozen=True)
class QualityMeta:
    """How many items, pairs of items and learners of the calibration in force depart from its model."""

    n_items_tested: int
    n_items_misfitting: int
    n_pairs: int
    n_pairs_dependent: int
    n_learners_tested: int
    n_learners_misfitting: int
    late_from: date
    n_items_compared: int
    n_items_shifted: int
    shift_reason: str | None


@dataclass(frozen=True)
class Ability:
    """A learner's theta and its standard error, at the newest calibration in force."""

    user_id: str
    theta: float
    se: float
    as_of: date


@dataclass(frozen=True)
class ThetaWeek:
    """Ability of the cohort in one week's own answers: random-effects mean and its standard error, in theta."""

    week_start: date
    n_learners: int
    n_answers: int
    mean: float
    se: float


@dataclass(frozen=True)
class KpiWeek:
    """One KPI over the learners of a week; `n` of `n_learners` have a value."""

    week_start: date
    kpi: str
    n_learners: int
    n: int
    p25: float | None
    median: float | None
    p75: float | None


@dataclass(frozen=True)
class KpiGap:
    """Learners of the day whose KPI is null for one reason, or whose A_t lacks a term (kpi 'a_t_dropped')."""

    kpi: str
    reason: str
    n: int


@dataclass(frozen=True)
class GrowthWeek:
    """Growth of the cohort in theta in one week: mean m, sd tau, and the learners whose interval excludes 0."""

    week_start: date
    n: int
    m: float | None
    tau: float | None
    n_growing: int
    n_declining: int


@dataclass(frozen=True)
class Activity:
    """What the learners did in the seven days up to `last_day`."""

    last_day: date
    learners: int
    answers: int
    correct: int


@dataclass(frozen=True)
class Flagged:
    """A learner to look at, and why."""

    user_id: str
    reasons: Sequence[str]
    theta: float | None
    i_t: float | None
    i_t_lower: float | None
    i_t_upper: float | None
    r_t: float | None
    r_t_n: int
    last_day: date | None


@dataclass(frozen=True)
class SegmentMeta:
    """A clustering of learners."""

    run_id: str
    as_of: date
    status: str
    reason: str | None
    k: int | None
    n_learners: int
    silhouette: float | None
    jaccard: Any
    jaccard_mean: float | None
    features: Any
    centroids: Any
    labels: Any


@dataclass(frozen=True)
class SegmentSize:
    """Learners of one segment, and how surely they belong to it."""

    label: str
    cluster: int
    n: int
    membership: float


@dataclass(frozen=True)
class SegmentMove:
    """Learners who were in another segment a week before."""

    label_before: str
    label: str
    n: int


@dataclass(frozen=True)
class ForecastMeta:
    """The day's forecast run; `threshold` is the |z| from which a week is an anomaly."""

    status: str
    reason: str | None
    n_series: int
    threshold: float


@dataclass(frozen=True)
class ForecastWeek:
    """A week to come of a series: the cohort or a segment, mean theta or mean I_t."""

    series: str
    metric: str
    week_start: date
    forecast: float
    lower: float
    upper: float
    level: float


@dataclass(frozen=True)
class JudgedWeek:
    """A past week of a series, and its forecast from the weeks before where there were enough."""

    series: str
    metric: str
    week_start: date
    observed: float
    expected: float | None
    sd: float | None
    z: float | None
    anomaly: bool
    n_learners: int


@dataclass(frozen=True)
class ChurnMeta:
    """The day's churn model."""

    status: str
    reason: str | None
    horizon_days: int
    evaluation: Mapping[str, Any] | None
    n_scored: int


@dataclass(frozen=True)
class AtRisk:
    """A learner flagged as at risk of staying away; risk is a probability with its 95 % interval."""

    user_id: str
    risk: float
    risk_lower: float
    risk_upper: float
    last_active: date
    n_answers: int


@dataclass(frozen=True)
class GrowthMeta:
    """The day's Bayesian growth: the population's parameters by term, and how well they were sampled."""

    status: str
    reason: str | None
    weeks: int
    n_learners_fit: int
    n_learners_scored: int
    population: Sequence[Mapping[str, Any]] | None
    sample: Mapping[str, Any] | None
    max_rhat: float | None
    divergences: int | None
    draws: int | None


@dataclass(frozen=True)
class GrowthTenth:
    """Learners whose P lies in one tenth (0..9), of those with a goal or of those without (kind goal, slope)."""

    kind: str
    tenth: int
    n: int


@dataclass(frozen=True)
class GoalInDoubt:
    """A learner whose goal is less likely than not to be reached; abilities in theta."""

    user_id: str
    p: float
    theta_now: float
    theta_now_lower: float
    theta_now_upper: float
    target_theta: float
    target_date: date


@dataclass(frozen=True)
class TopicMeta:
    """The day's mixed model: growth by week and effects of topics, in log-odds of a right answer."""

    status: str
    reason: str | None
    n_learners: int
    n_answers: int
    sampled: bool
    item_term: str | None
    converged: bool | None
    singular: bool | None
    fixed: Sequence[Mapping[str, Any]] | None
    random: Sequence[Mapping[str, Any]] | None
    topics: Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class Facts:
    """All that the cohort's report is made of. Records are in the order of their queries.

    `pages` has the path, relative to the report, of every learner's page that lies beside it.
    """

    tenant: str
    as_of: date
    job_runs: Sequence[JobRun]
    fits: Sequence[Fit]
    items: Sequence[Item]
    items_before: Sequence[Item]
    abilities: Sequence[Ability]
    theta_weeks: Sequence[ThetaWeek]
    kpi_weeks: Sequence[KpiWeek]
    kpi_gaps: Sequence[KpiGap]
    growth_weeks: Sequence[GrowthWeek]
    activity: Sequence[Activity]
    flagged: Sequence[Flagged]
    flagged_before: Sequence[Flagged]
    segment_metas: Sequence[SegmentMeta]
    segment_sizes: Sequence[SegmentSize]
    segment_moves: Sequence[SegmentMove]
    quality_metas: Sequence[QualityMeta] = ()
    forecast_metas: Sequence[ForecastMeta] = ()
    forecast_weeks: Sequence[ForecastWeek] = ()
    judged_weeks: Sequence[JudgedWeek] = ()
    churn_metas: Sequence[ChurnMeta] = ()
    learners_at_risk: Sequence[AtRisk] = ()
    growth_metas: Sequence[GrowthMeta] = ()
    growth_tenths: Sequence[GrowthTenth] = ()
    goals_in_doubt: Sequence[GoalInDoubt] = ()
    topic_metas: Sequence[TopicMeta] = ()
    pages: Mapping[str, str] = field(default_factory=dict)

    @property
    def week_start(self) -> date:
        """Monday of the report's week."""
        return monday(self.as_of)

    def fit(self, role: str) -> Fit | None:
        """Return the calibration of a role: current, before or refused."""
        return next((fit for fit in self.fits if fit.role == role), None)

    def kpi(self, kpi: str, week_start: date | None = None) -> KpiWeek | None:
        """Return a KPI's row of a week, by default the report's."""
        week = week_start or self.week_start
        return next((row for row in self.kpi_weeks if row.kpi == kpi and row.week_start == week), None)

    def growth(self, week_start: date) -> GrowthWeek | None:
        """Return the cohort's growth of a week."""
        return next((row for row in self.growth_weeks if row.week_start == week_start), None)


@dataclass(frozen=True)
class LearnerProfile:
    """What a learner's page is made of, besides weeks and topics."""

    user_id: str
    theta: float | None
    se: float | None
    n_responses: int | None
    segment: str | None
    target_theta: float | None
    target_date: date | None
    last_day: date | None
    i_t: float | None
    i_t_lower: float | None
    i_t_upper: float | None
    i_t_n: int
    i_t_source: str | None
    i_t_reason: str | None
    a_t: float | None
    a_t_lower: float | None
    a_t_upper: float | None
    a_t_n: int
    a_t_reason: str | None
    e_t: float | None
    e_t_lower: float | None
    e_t_upper: float | None
    e_t_n: int
    e_t_reason: str | None
    r_t: float | None
    r_t_lower: float | None
    r_t_upper: float | None
    r_t_n: int
    r_t_reason: str | None


@dataclass(frozen=True)
class LearnerWeek:
    """A learner's theta from one week's own first attempts: EAP m and its posterior sd s."""

    user_id: str
    week_start: date
    m: float
    s: float
    n: int


@dataclass(frozen=True)
class LearnerTopic:
    """A learner's theta in one topic."""

    user_id: str
    topic_id: str
    theta: float
    se: float
    n_responses: int


@dataclass(frozen=True)
class LearnerFacts:
    """What the page of one learner is made of."""

    profile: LearnerProfile
    weeks: Sequence[LearnerWeek]
    topics: Sequence[LearnerTopic]
    reasons: Sequence[str]
