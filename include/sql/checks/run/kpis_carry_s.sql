-- check: KPIs carry S
-- expects: S of the day's KPIs is survival_risk's, null with a reason where there is none; each risk has its KPI row
with fit as (
    select exists (select from survival_fit_meta where tenant_id = %(tenant_id)s and as_of = %(as_of)s) as ran
),

kpi as (
    select *
    from weekly_kpi
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

risk as (
    select *
    from survival_risk
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

select
    user_id,
    week_start,
    kpi.s,
    risk.risk,
    kpi.s_lower,
    risk.risk_lower,
    kpi.s_upper,
    risk.risk_upper,
    kpi.s_n,
    risk.n_answers,
    kpi.s_reason,
    kpi.user_id is not null as has_kpi_row
from kpi
full join risk using (user_id, week_start)
cross join fit
where
    kpi.user_id is null
    or (kpi.s, kpi.s_lower, kpi.s_upper) is distinct from (risk.risk, risk.risk_lower, risk.risk_upper)
    or (risk.user_id is not null and kpi.s_n is distinct from risk.n_answers)
    or (fit.ran and not kpi.reconstructed and kpi.s is null and kpi.s_reason is null)
