-- check: KPIs carry P and sigma
-- expects: P and sigma of the day's KPIs are growth_learner's, null with a reason where there is none or it has none
with fit as (
    select max(weeks) as weeks
    from growth_brms_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

kpi as (
    select *
    from weekly_kpi
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

growth as (
    select *
    from growth_learner
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

-- Growth over more than the eight weeks of the KPIs also has learners without a KPI row.
select
    user_id,
    week_start,
    kpi.p,
    growth.p as growth_p,
    kpi.p_source,
    growth.p_kind,
    kpi.sigma,
    growth.sigma as growth_sigma,
    kpi.sigma_source,
    growth.sigma_kind,
    kpi.p_n,
    growth.n_weeks,
    kpi.p_reason,
    kpi.sigma_reason,
    kpi.user_id is not null as has_kpi_row
from kpi
full join growth using (user_id, week_start)
cross join fit
where
    (kpi.user_id is null and fit.weeks <= 8)
    or (
        kpi.user_id is not null
        and (kpi.p, kpi.p_source, kpi.sigma, kpi.sigma_source)
        is distinct from (growth.p, growth.p_kind, growth.sigma, growth.sigma_kind)
    )
    or (kpi.user_id is not null and growth.user_id is not null and kpi.p_n is distinct from growth.n_weeks)
    or (
        fit.weeks is not null
        and not kpi.reconstructed
        and ((kpi.p is null and kpi.p_reason is null) or (kpi.sigma is null and kpi.sigma_reason is null))
    )
