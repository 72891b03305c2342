"""From yesterday's answers to this week's report.

Every night at 03:00 UTC: calibrate the item bank on recent answers, link it to the published scale, estimate abilities,
compute the learners' KPIs, fit five models of them beside one another, and render the weekly report.

    prepare_schema > check_attempts > mirt_calibrate > features_backfill > compute_daily_kpis
        > [ fit_glmm | fit_survival_churn | forecast_prophet | fit_bayesian_growth | cluster_segments ]
        > generate_weekly_report > [ all_branches_ok | notify_if_failed ]

With the param `shards` above 1, `features_shards` and `kpi_shards` compute what rests on single learners for
`features_backfill` and `compute_daily_kpis`, beforehand and by a pod for each shard.

**Which day.** A run looks at the answers up to the end of `as_of`, the last complete UTC day before the run's own
date, and at nothing after it. Set `as_of` to run a past day again; a rerun replaces exactly what that day wrote, and a
past day reads the item bank as it was published then.

**When something fails.** A job that finds bad input (64), refuses to publish (65) or has a defect fails at once, and
its log ends with the reason. What may pass by itself (75: database away or busy; a pod evicted, out of memory or past
its deadline) is tried twice more. A calibration that is refused fails the run in the end, but the rest of the day is
computed from the one published before; after any other failure of `mirt_calibrate` nothing goes on. A branch that
fails leaves the report standing, with a badge for what is missing; `all_branches_ok` then fails the run, and
`notify_if_failed` tells of it where the connection `irt_notifications` (http, a webhook) says whom. Clearing a task
runs it again and changes nothing else.

**What it needs.** The connections `seedtest_db` (postgres), `report_store` (aws or generic, with the extra `url`) and
`r_glmm`, `r_forecast`, `r_brms` (http; where there is no such service, the extra `unavailable` with the reason, which
its branches then record as skips; `r_irt` only for `irt_engine` = `mirt`); `IRT_RUNTIME=kubernetes` with
`IRT_JOBS_IMAGE`, or `IRT_RUNTIME=process`.

**Past days at once.** `airflow backfill create --dag-id irt_analytics_daily --from-date D+1 --to-date D+2
--max-active-runs 1` makes the run of day D: dates are those of the 03:00 after the day, and a backfill ignores the
Dag's own limit of one run at a time.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param, TriggerRule, task

from irt_airflow.check_attempts import CheckAttemptsOperator
from irt_airflow.conf import refuse_bad_conf
from irt_airflow.credentials import DATABASE, R_BRMS, R_FORECAST, R_GLMM, R_IRT, REPORT_STORE, connection_if
from irt_airflow.days import as_of
from irt_airflow.links import OpenReportLink
from irt_airflow.notifications import NotifyIfFailedOperator, keep_reason
from irt_airflow.pipeline_pod import PipelinePodOperator
from irt_airflow.refusal import only_after

ATTEMPT_CHECKS = Path(__file__).parents[1] / "include" / "sql" / "checks" / "attempts"

ITEM_PARAMETERS = Asset("irt_item_parameters")
WEEKLY_KPIS = Asset("irt_weekly_kpis")
WEEKLY_REPORT = Asset("irt_weekly_report")

AS_OF = "{{ as_of(params, dag_run) }}"
TENANT = "{{ params.tenant }}"

PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="Last complete UTC day that the run looks at. Empty: the day before the run's date.",
    ),
    "tenant": Param("default", type="string", minLength=1, title="Tenant", description="Whose answers."),
    "model": Param(
        "2PL",
        type="string",
        enum=["2PL", "Rasch", "3PL"],
        title="Model",
        description="Item response model of the calibration.",
        section="Calibration",
    ),
    "irt_engine": Param(
        "native",
        type="string",
        enum=["native", "mirt"],
        values_display={"native": "this package", "mirt": "R mirt"},
        title="Engine",
        description="What estimates the items: this package's engine, or R mirt behind r-irt-plumber.",
        section="Calibration",
    ),
    "linking": Param(
        "stocking_lord",
        type="string",
        enum=["stocking_lord", "haebara", "mean_sigma", "mean_mean", "fixed"],
        values_display={
            "stocking_lord": "Stocking-Lord",
            "haebara": "Haebara",
            "mean_sigma": "mean/sigma",
            "mean_mean": "mean/mean",
            "fixed": "fixed anchors",
        },
        title="Linking",
        description="How the anchors carry the published scale over to the new calibration; fixed: they keep their "
        "published parameters, and only the other items are estimated.",
        section="Calibration",
    ),
    "priors": Param(
        "weak",
        type="string",
        enum=["weak", "none"],
        title="Priors",
        description="weak: a ~ lognormal(0, 0.5), which keeps items with few answers in bounds.",
        section="Calibration",
    ),
    "groups": Param(
        "earlier_ability",
        type="string",
        enum=["earlier_ability", "none"],
        values_display={"earlier_ability": "by earlier ability", "none": "one for all"},
        title="Populations",
        description="Strata of ability known before the window, and newcomers, each with its own mean and sd of theta: "
        "items routed by ability stay unbiased. none: one population.",
        section="Calibration",
    ),
    "invalid_answers": Param(
        "missing",
        type="string",
        enum=["missing", "wrong"],
        title="Invalid answers",
        description="How timed-out and rapid answers (under a tenth of the item's median time) count.",
        section="Calibration",
    ),
    "irt_window_days": Param(
        30,
        type="integer",
        minimum=1,
        maximum=3650,
        title="Calibration window (days)",
        description="Days of first attempts to calibrate on; extended backwards where they are too few.",
        section="Calibration",
    ),
    "min_answers_item": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Answers per item",
        description="First attempts an item needs to be estimated without a flag. Empty: Rasch 30, 2PL 100, 3PL 500.",
        section="Calibration",
    ),
    "min_answers_learner": Param(
        5,
        type="integer",
        minimum=1,
        title="Answers per learner",
        description="First attempts a learner needs to be part of the calibration.",
        section="Calibration",
    ),
    "min_anchors": Param(
        5,
        type="integer",
        minimum=2,
        title="Anchors",
        description="Anchors that have to carry the link; with fewer the last calibration stays published.",
        section="Publishing",
    ),
    "min_anchor_share": Param(
        0.2,
        type="number",
        minimum=0.01,
        maximum=1,
        title="Share of the anchors",
        description="Share of the anchors that has to carry the link, the others having drifted.",
        section="Publishing",
    ),
    "max_slope_change": Param(
        0.25,
        type="number",
        minimum=0.01,
        maximum=10,
        title="Change of spread",
        description="How far from 1 the spread of theta may be, compared to the last calibration, beyond its error.",
        section="Publishing",
    ),
    "max_scale_shift": Param(
        0.5,
        type="number",
        minimum=0.01,
        maximum=10,
        title="Shift of the mean",
        description="How far mean theta may lie from the last calibration's, in its sds, beyond its error.",
        section="Publishing",
    ),
    "max_item_shift": Param(
        0.3,
        type="number",
        minimum=0.01,
        maximum=10,
        title="Shift of difficulties",
        description="Median shift of difficulties since the last calibration, in logits, beyond their errors.",
        section="Publishing",
    ),
    "max_fit_loss": Param(
        0.02,
        type="number",
        minimum=0.001,
        maximum=10,
        title="Loss of fit",
        description="Share by which an answer's log-likelihood may fall since the last calibration, beyond its error.",
        section="Publishing",
    ),
    "survival_window_days": Param(
        90,
        type="integer",
        minimum=56,
        maximum=3650,
        title="Churn window (days)",
        description="Days of weekly landmarks that the churn model learns from.",
        section="Models",
    ),
    "prophet_weeks": Param(
        26,
        type="integer",
        minimum=16,
        maximum=520,
        title="Forecast history (weeks)",
        description="Weeks of the cohort's theta and growth that the forecast reads.",
        section="Models",
    ),
    "growth_weeks": Param(
        8,
        type="integer",
        minimum=3,
        maximum=26,
        title="Growth window (weeks)",
        description="Weeks of theta that the Bayesian growth model reads.",
        section="Models",
    ),
    "glmm_weeks": Param(
        12,
        type="integer",
        minimum=3,
        maximum=26,
        title="GLMM window (weeks)",
        description="Weeks of first attempts that the GLMM reads.",
        section="Models",
    ),
    "segment_weeks": Param(
        12,
        type="integer",
        minimum=1,
        maximum=26,
        title="Segment window (weeks)",
        description="Weeks of behaviour that segments are made from.",
        section="Segments and report",
    ),
    "learner_pages": Param(
        "flagged",
        type="string",
        enum=["flagged", "none", "all"],
        title="Learner pages",
        description="Learners that get a page of their own beside the cohort's report.",
        section="Segments and report",
    ),
    "report_lang": Param(
        "en",
        type="string",
        enum=["en", "ko"],
        values_display={"en": "English", "ko": "한국어"},
        title="Language",
        description="Language of the report.",
        section="Segments and report",
    ),
    "shards": Param(
        1,
        type="integer",
        minimum=1,
        maximum=1024,
        title="Shards",
        description="Shards of the learners. More than one: features and KPIs are computed by a pod for each, beside "
        "one another, and put together; the same numbers.",
        section="Scale",
    ),
}

#: Every other param is a flag of the same name; a flag without a value means its default.
FLAGS = {name: f"{{{{ params.{name} or '' }}}}" for name in PARAMS if name not in ("as_of", "tenant")}


def pipeline_job(
    job: str, *, minutes: int, connections: tuple[str, ...] = (DATABASE,), **task: Any
) -> PipelinePodOperator:
    """Return the task of one job, which may take this long."""
    return PipelinePodOperator(
        job=job,
        as_of=AS_OF,
        tenant=TENANT,
        flags=FLAGS,
        connections=connections,
        execution_timeout=timedelta(minutes=minutes),
        **task,
    )


def shards_of(job: str, shards: Any, *, task_id: str, minutes: int, doc_md: str, **settings: Any) -> Any:
    """Return the task that is as many as there are shards: each computes one for the job that comes after them."""
    return PipelinePodOperator.partial(
        task_id=task_id,
        job=job,
        as_of=AS_OF,
        tenant=TENANT,
        flags=FLAGS,
        profile="medium",
        connections=(DATABASE,),
        execution_timeout=timedelta(minutes=minutes),
        map_index_template="{{ task.shard }}",
        doc_md=doc_md,
        **settings,
    ).expand(shard=shards)


with DAG(
    dag_id="irt_analytics_daily",
    dag_display_name="IRT analytics, daily",
    description="Calibrated item bank, learner KPIs and the weekly report from yesterday's answers",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    user_defined_macros={"as_of": as_of},
    tags=["irt", "learning-analytics", "report"],
    default_args={
        "owner": "learning-analytics",
        "retries": 2,
        # longer than a pod's grace period: a retry finds the last try's transaction rolled back
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=10),
        "on_failure_callback": keep_reason,
    },
) as dag:
    prepare_schema = pipeline_job(
        "prepare_schema",
        minutes=15,
        profile="small",
        pre_execute=refuse_bad_conf,
        doc_md="Brings the database to the newest schema and defines the view `attempt` over the log's own tables.",
    )

    check_attempts = CheckAttemptsOperator(
        task_id="check_attempts",
        folder=ATTEMPT_CHECKS,
        as_of=AS_OF,
        tenant=TENANT,
        connection_id=DATABASE,
        execution_timeout=timedelta(minutes=30),
        doc_md="Fails the run where the answer log breaks more rules than tolerated, with counts and examples. "
        "Repairs nothing.",
    )

    mirt_calibrate = pipeline_job(
        "mirt_calibrate",
        minutes=180,
        profile="large",
        connections=(DATABASE, connection_if(R_IRT, "irt_engine", "mirt")),
        outlets=[ITEM_PARAMETERS],
        doc_md="Estimates the items from recent first attempts, links them to the published scale over the anchors, "
        "publishes the bank, and estimates the abilities of who answered.",
    )

    @task(
        execution_timeout=timedelta(minutes=5),
        doc_md="Names the shards of the learners, as many as the param `shards` says.",
    )
    def split_learners(params: dict[str, Any]) -> list[str]:
        """Return 1/4, 2/4, ... for four shards."""
        return [f"{number}/{params['shards']}" for number in range(1, params["shards"] + 1)]

    learner_shards = split_learners()  # type: ignore[call-arg,misc]  # Airflow gives it the params

    features_shards = shards_of(
        "features_backfill",
        learner_shards,
        task_id="features_shards",
        minutes=120,
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        pre_execute=only_after("mirt_calibrate"),
        doc_md="A pod for each shard of the learners, beside one another: their theta and features, for "
        "`features_backfill` to put together. Does nothing where `shards` = 1.",
    )

    features_backfill = pipeline_job(
        "features_backfill",
        minutes=120,
        profile="medium",
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        pre_execute=only_after("mirt_calibrate"),
        doc_md="Weekly and per-topic theta of every learner, and daily features by topic. On a first run also of past "
        "weeks, each only from answers up to its own end. Runs after a calibration that was refused, too: on the bank "
        "published before.",
    )

    kpi_shards = shards_of(
        "compute_daily_kpis",
        learner_shards,
        task_id="kpi_shards",
        minutes=60,
        doc_md="A pod for each shard of the learners, beside one another: what their KPIs rest on, for "
        "`compute_daily_kpis` to compare with the cohort and to put together. Does nothing where `shards` = 1.",
    )

    compute_daily_kpis = pipeline_job(
        "compute_daily_kpis",
        minutes=60,
        profile="medium",
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        pre_execute=only_after("features_backfill"),
        outlets=[WEEKLY_KPIS],
        doc_md="Improvement I_t, attention A_t, efficiency E_t and recovery R_t of every learner, each with its "
        "interval, or null with the reason.",
    )

    fit_glmm = pipeline_job(
        "fit_glmm",
        minutes=120,
        profile="medium",
        connections=(DATABASE, R_GLMM),
        doc_md="Fits correct answers by week, learner, topic and item, by R lme4, and keeps the coefficients: how fast "
        "learners grow and which topics are hard, items held constant.",
    )

    fit_survival_churn = pipeline_job(
        "fit_survival_churn",
        minutes=60,
        profile="medium",
        connections=(DATABASE, R_FORECAST),
        doc_md="S: how likely each active learner is not to come back within 14 days, by a Cox model of past weeks' "
        "landmarks (R survival), judged on later ones.",
    )

    forecast_prophet = pipeline_job(
        "forecast_prophet",
        minutes=60,
        profile="medium",
        connections=(DATABASE, R_FORECAST),
        doc_md="Mean theta and growth of the cohort and its segments four weeks ahead, with intervals, and past weeks "
        "that were out of line (R prophet).",
    )

    fit_bayesian_growth = pipeline_job(
        "fit_bayesian_growth",
        minutes=120,
        profile="medium",
        connections=(DATABASE, R_BRMS),
        doc_md="P: how likely each learner is to reach the goal by its date, or to grow where there is none, and its "
        "uncertainty sigma (R brms).",
    )

    cluster_segments = pipeline_job(
        "cluster_segments",
        minutes=60,
        profile="medium",
        doc_md="Groups learners by KPIs and behaviour where the groups are stable, and names them as last time.",
    )

    generate_weekly_report = pipeline_job(
        "generate_weekly_report",
        minutes=60,
        profile="medium",
        connections=(DATABASE, REPORT_STORE),
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        links=[OpenReportLink()],
        outlets=[WEEKLY_REPORT],
        doc_md="Renders the report (HTML, PDF, CSV) into the store. Runs whenever the KPIs are there and the branches "
        "have ended; a branch that failed or had too little data shows as a badge.",
    )

    all_branches_ok = EmptyOperator(
        task_id="all_branches_ok",
        trigger_rule=TriggerRule.NONE_FAILED,
        doc_md="Fails the run where the calibration was refused, or a branch or the report failed.",
    )

    notify_if_failed = NotifyIfFailedOperator(
        task_id="notify_if_failed",
        as_of=AS_OF,
        tenant=TENANT,
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(minutes=5),
        doc_md="Posts one message about a run that failed, with its tasks and their reasons, where there is a "
        "connection `irt_notifications`. Whether it arrives does not change how the run ends.",
    )

    branches = [fit_glmm, fit_survival_churn, forecast_prophet, fit_bayesian_growth, cluster_segments]

    prepare_schema >> check_attempts >> mirt_calibrate >> features_backfill >> compute_daily_kpis
    check_attempts >> learner_shards
    # where the calibration was refused, check_attempts is the one success that a trigger rule asks for; a shard that
    # failed is computed by the job itself, and fails the run in the end
    [check_attempts, mirt_calibrate] >> features_shards >> features_backfill
    check_attempts >> features_backfill >> kpi_shards >> compute_daily_kpis
    [features_shards, kpi_shards] >> all_branches_ok
    compute_daily_kpis >> branches >> generate_weekly_report
    mirt_calibrate >> all_branches_ok
    compute_daily_kpis >> generate_weekly_report
    for last in (all_branches_ok, notify_if_failed):
        [*branches, generate_weekly_report] >> last
