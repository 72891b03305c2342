"""The parameters of a run that change its numbers: the Dag's params, beside as_of and tenant."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Model = Literal["2PL", "Rasch", "3PL"]

#: First attempts an item needs before it is estimated without a flag, by model.
MIN_ANSWERS_ITEM: dict[Model, int] = {"Rasch": 30, "2PL": 100, "3PL": 500}
#: Below this an item is left out of the calibration altogether.
MIN_ANSWERS_ITEM_ANY = 20
#: Weeks of history that a first run reconstructs: the longest window any job reads.
HISTORY_WEEKS = 26


class RunParams(BaseModel):
    """One field a Dag param; the command line has a flag of the same name for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Model = Field("2PL", description="item response model")
    irt_engine: Literal["native", "mirt"] = Field("native", description="what calibrates: this package, or R mirt")
    linking: Literal["stocking_lord", "haebara", "mean_sigma", "mean_mean", "fixed"] = Field(
        "stocking_lord", description="method of the scale link; fixed: anchors keep their published parameters"
    )
    priors: Literal["weak", "none"] = Field("weak", description="weak: a ~ lognormal(0, 0.5)")
    groups: Literal["earlier_ability", "none"] = Field(
        "earlier_ability", description="populations: strata of ability known before the window, and newcomers; or one"
    )
    invalid_answers: Literal["missing", "wrong"] = Field(
        "missing", description="how timed-out and rapid answers count as evidence of ability"
    )
    irt_window_days: int = Field(30, ge=1, le=3650, description="days of first attempts a calibration reads")
    min_answers_item: int | None = Field(None, ge=1, description="first attempts an item needs; default by model")
    min_answers_learner: int = Field(5, ge=1, description="first attempts a learner needs")
    min_anchors: int = Field(5, ge=2, description="anchors that have to carry the link")
    min_anchor_share: float = Field(0.2, ge=0.01, le=1.0, description="share of the anchors that has to")
    max_slope_change: float = Field(0.25, ge=0.01, le=10.0, description="change of the spread of theta since the last")
    max_scale_shift: float = Field(0.5, ge=0.01, le=10.0, description="shift of mean theta since the last, in sds")
    max_item_shift: float = Field(0.3, ge=0.01, le=10.0, description="median shift of difficulties, in logits")
    max_fit_loss: float = Field(0.02, ge=0.001, le=10.0, description="fall of the log-likelihood of an answer")
    survival_window_days: int = Field(90, ge=56, le=3650, description="days of weekly landmarks that churn learns from")
    prophet_weeks: int = Field(26, ge=16, le=520, description="weeks of history that the forecast reads")
    growth_weeks: int = Field(8, ge=3, le=HISTORY_WEEKS, description="weeks of theta that growth reads")
    glmm_weeks: int = Field(12, ge=3, le=HISTORY_WEEKS, description="weeks of answers that the GLMM reads")
    segment_weeks: int = Field(12, ge=1, le=HISTORY_WEEKS, description="weeks of behaviour that segments read")
    shards: int = Field(1, ge=1, le=1024, description="shards of the learners")
    learner_pages: Literal["flagged", "none", "all"] = Field("flagged", description="learners that get a page")
    report_lang: Literal["en", "ko"] = Field("en", description="language of the report")

    @property
    def item_minimum(self) -> int:
        """First attempts an item needs to be estimated without a flag."""
        return self.min_answers_item if self.min_answers_item is not None else MIN_ANSWERS_ITEM[self.model]
