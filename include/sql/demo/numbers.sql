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
        max(i_t_m) as mean_growth,
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
    segments.reason as segments_reason
from fit
cross join bank
cross join abilities
cross join kpis
left join segments on true
