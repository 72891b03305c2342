-- Sets P and sigma of the day's KPI rows from growth_learner; a learner without a row there gets the reason.
update weekly_kpi
set
    p = growth.p,
    p_n = coalesce(growth.n_weeks, 0),
    p_source = growth.p_kind,
    p_reason = case when growth.p is null then coalesce(growth.reason, %(reason)s) end,
    sigma = growth.sigma,
    sigma_source = growth.sigma_kind,
    sigma_reason = case when growth.sigma is null then coalesce(growth.reason, %(reason)s) end
from weekly_kpi as due
left join growth_learner as growth
    on
        growth.tenant_id = due.tenant_id
        and growth.user_id = due.user_id
        and growth.as_of = due.as_of
where
    due.tenant_id = %(tenant_id)s
    and due.as_of = %(as_of)s
    and due.week_start = date_trunc('week', %(as_of)s::date::timestamp)::date
    and weekly_kpi.tenant_id = due.tenant_id
    and weekly_kpi.user_id = due.user_id
    and weekly_kpi.week_start = due.week_start
    and weekly_kpi.as_of = due.as_of
