-- What later jobs wrote into the day's rows: columns of their own.
create temporary table kpi_later on commit drop as
select
    user_id,
    week_start,
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
from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and num_nonnulls(s, s_reason, p, p_reason, sigma, sigma_reason) > 0
