-- One row: what a person wants to know first of a day's run.
with fit as (
    select
        run_id,
        model,
        n_items,
        n_responses,
        window_start,
        window_end,
        window_extended
    from mirt_fit_meta
    where tenant_id = %(tenant_id)s and as_of <= %(as_of)s and published
    order by as_of desc
    limit 1
),

bank as (
    select
        count(*) as items,
        count(*) filter (where status = 'provisional') as provisional
    from mirt_item_params
    where tenant_id = %(tenant_id)s and run_id = (select run_id from fit)
),

abilities as (
    select
        count(*) as learners,
        avg(theta) as mean_theta,
        var_samp(theta) as variance,
        avg(se ^ 2) as error_variance
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

kpis as (
    select
        count(i_t) filter (where i_t_source <> 'accuracy') as with_growth,
        -- of fewer learners the mean is assumed, not measured
        case
            when count(i_t) filter (where i_t_source <> 'accuracy') >= 20 then max(i_t_m)
        end as mean_growth,
        count(*) filter (where i_t_lower > 0 and i_t_source <> 'accuracy') as growing,
        count(*) filter (where i_t_upper < 0 and i_t_source <> 'accuracy') as declining,
        mode() within group (order by i_t_reason) as growth_reason,
        count(*) filter (where a_t > 0) as active,
        percentile_cont(0.5) within group (order by a_t) filter (where a_t > 0) as median_activity
    from weekly_kpi
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and not reconstructed
),

segments as (
    select
        status,
        reason,
        k
    from segment_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

glmm as (
    select
        reason,
        n_topics,
        converged and not singular as trusted,
        (jsonb_path_query_first(fixed, '$[*] ? (@.term == "week")') ->> 'estimate')::float8 as slope,
        (jsonb_path_query_first(fixed, '$[*] ? (@.term == "week")') ->> 'se')::float8 as slope_se
    from growth_glmm_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

churn as (
    select
        reason,
        (evaluation ->> 'auc')::float8 as auc
    from survival_fit_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

risks as (
    select
        count(*) as rated,
        count(*) filter (where at_risk) as at_risk
    from survival_risk
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

growth as (
    select
        reason,
        max_rhat
    from growth_brms_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

goals as (
    select
        count(*) filter (where p_kind = 'goal') as with_goal,
        count(*) filter (where p_kind = 'goal' and p >= 0.5) as on_course,
        count(*) filter (where slope_lower > 0) as surely_growing,
        count(*) as lines
    from growth_learner
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

prophet as (
    select reason
    from prophet_fit_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

ahead as (
    select
        horizon,
        forecast,
        lower,
        upper
    from prophet_forecast
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and series = 'cohort' and metric = 'theta'
    order by horizon desc
    limit 1
),

odd as (
    select count(*) filter (where anomaly) as odd_weeks
    from prophet_anomalies
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

select
    fit.model,
    fit.n_responses,
    fit.window_start,
    fit.window_end,
    fit.window_extended,
    bank.items,
    bank.provisional,
    abilities.learners,
    abilities.variance,
    abilities.error_variance,
    kpis.with_growth,
    kpis.mean_growth,
    kpis.growing,
    kpis.declining,
    kpis.growth_reason,
    kpis.active,
    kpis.median_activity,
    segments.k as segments,
    segments.reason as segments_reason,
    glmm.slope,
    glmm.slope_se,
    glmm.trusted as glmm_trusted,
    glmm.n_topics,
    glmm.reason as glmm_reason,
    churn.auc,
    churn.reason as churn_reason,
    risks.rated,
    risks.at_risk,
    growth.max_rhat,
    growth.reason as goals_reason,
    goals.with_goal,
    goals.on_course,
    goals.surely_growing,
    goals.lines,
    prophet.reason as forecast_reason,
    ahead.horizon,
    ahead.forecast,
    ahead.lower as forecast_lower,
    ahead.upper as forecast_upper,
    odd.odd_weeks
from fit
cross join bank
cross join abilities
cross join kpis
cross join risks
cross join goals
cross join odd
left join segments on true
left join glmm on true
left join churn on true
left join growth on true
left join prophet on true
left join ahead on true
