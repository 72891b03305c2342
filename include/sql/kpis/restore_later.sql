-- Puts what later jobs wrote back into the day's rows. Where they computed something for a learner that is no longer due,
-- there is a row for it, without KPIs.
insert into weekly_kpi (
    tenant_id,
    user_id,
    week_start,
    as_of,
    i_t_reason,
    a_t_reason,
    e_t_reason,
    r_t_reason,
    reconstructed,
    s,
    s_lower,
    s_upper,
    s_n,
    s_source,
    s_reason,
    p,
    p_n,
    p_source,
    p_reason,
    sigma,
    sigma_source,
    sigma_reason
)
select
    %(tenant_id)s,
    user_id,
    week_start,
    %(as_of)s,
    'no answer in the eight weeks before',
    'no answer in the eight weeks before',
    'no answer in the eight weeks before',
    'no answer in the eight weeks before',
    reconstructed,
    s,
    s_lower,
    s_upper,
    s_n,
    s_source,
    s_reason,
    p,
    p_n,
    p_source,
    p_reason,
    sigma,
    sigma_source,
    sigma_reason
from kpi_later
where
    num_nonnulls(s, p, sigma) > 0
    or exists (
        select
        from weekly_kpi
        where
            weekly_kpi.tenant_id = %(tenant_id)s
            and weekly_kpi.as_of = %(as_of)s
            and weekly_kpi.user_id = kpi_later.user_id
            and weekly_kpi.week_start = kpi_later.week_start
    )
on conflict (tenant_id, user_id, week_start, as_of) do update
set
    s = excluded.s,
    s_lower = excluded.s_lower,
    s_upper = excluded.s_upper,
    s_n = excluded.s_n,
    s_source = excluded.s_source,
    s_reason = excluded.s_reason,
    p = excluded.p,
    p_n = excluded.p_n,
    p_source = excluded.p_source,
    p_reason = excluded.p_reason,
    sigma = excluded.sigma,
    sigma_source = excluded.sigma_source,
    sigma_reason = excluded.sigma_reason
