-- Writes the KPIs of every learner and week due; the columns of later jobs are left as they are.
insert into weekly_kpi (
    tenant_id,
    user_id,
    week_start,
    as_of,
    i_t,
    i_t_lower,
    i_t_upper,
    i_t_n,
    i_t_source,
    i_t_reason,
    i_t_raw,
    i_t_se,
    i_t_pr_positive,
    i_t_m,
    i_t_tau,
    a_t,
    a_t_lower,
    a_t_upper,
    a_t_n,
    a_t_source,
    a_t_reason,
    a_t_dropped,
    e_t,
    e_t_lower,
    e_t_upper,
    e_t_n,
    e_t_source,
    e_t_reason,
    r_t,
    r_t_lower,
    r_t_upper,
    r_t_n,
    r_t_source,
    r_t_reason,
    reconstructed
)
with growth as (
    select distinct on (learner, week_start) *
    from kpi_growth
    order by learner, week_start, value is null, source desc
)

select
    %(tenant_id)s,
    kpi_learner.user_id,
    due.week_start,
    %(as_of)s::date,
    growth.value,
    growth.lower,
    growth.upper,
    coalesce(growth.n, 0),
    case when growth.value is not null then growth.source end,
    case when growth.value is null
        then coalesce(growth.reason, 'fewer than 5 first attempts that count in the recent or the previous fortnight')
    end,
    growth.raw,
    growth.se,
    growth.pr_positive,
    growth.m,
    growth.tau,
    coalesce(activity.value, 0),
    activity.lower,
    activity.upper,
    coalesce(activity.n, 0),
    coalesce(activity.source, 'no session'),
    null,
    activity.dropped,
    efficiency.value,
    efficiency.lower,
    efficiency.upper,
    coalesce(efficiency.n, 0),
    case when efficiency.value is not null then 'response times' end,
    case
        when efficiency.value is not null then null
        when not %(times_recorded)s then 'response times are not recorded'
        else 'fewer than 15 timed correct first attempts that count in the recent or the previous four weeks'
    end,
    resolved.value,
    resolved.lower,
    resolved.upper,
    coalesce(resolved.n, 0),
    case when resolved.value is not null then 'answers' end,
    case when resolved.value is null
        then 'fewer than 5 items answered wrong and tried again in a later session'
    end,
    due.week_start < date_trunc('week', %(as_of)s::date::timestamp)::date
from kpi_learner_week as due
join kpi_learner using (learner)
left join growth using (learner, week_start)
left join kpi_a_t as activity using (learner, week_start)
left join kpi_e_t as efficiency using (learner, week_start)
left join kpi_r_t as resolved using (learner, week_start)
on conflict (tenant_id, user_id, week_start, as_of) do update set
    i_t = excluded.i_t,
    i_t_lower = excluded.i_t_lower,
    i_t_upper = excluded.i_t_upper,
    i_t_n = excluded.i_t_n,
    i_t_source = excluded.i_t_source,
    i_t_reason = excluded.i_t_reason,
    i_t_raw = excluded.i_t_raw,
    i_t_se = excluded.i_t_se,
    i_t_pr_positive = excluded.i_t_pr_positive,
    i_t_m = excluded.i_t_m,
    i_t_tau = excluded.i_t_tau,
    a_t = excluded.a_t,
    a_t_lower = excluded.a_t_lower,
    a_t_upper = excluded.a_t_upper,
    a_t_n = excluded.a_t_n,
    a_t_source = excluded.a_t_source,
    a_t_reason = excluded.a_t_reason,
    a_t_dropped = excluded.a_t_dropped,
    e_t = excluded.e_t,
    e_t_lower = excluded.e_t_lower,
    e_t_upper = excluded.e_t_upper,
    e_t_n = excluded.e_t_n,
    e_t_source = excluded.e_t_source,
    e_t_reason = excluded.e_t_reason,
    r_t = excluded.r_t,
    r_t_lower = excluded.r_t_lower,
    r_t_upper = excluded.r_t_upper,
    r_t_n = excluded.r_t_n,
    r_t_source = excluded.r_t_source,
    r_t_reason = excluded.r_t_reason
