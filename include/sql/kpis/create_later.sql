-- The day's rows into which later jobs wrote, in columns of their own.
create temporary table kpi_later on commit drop as
select *
from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and num_nonnulls(s, s_reason, p, p_reason, sigma, sigma_reason) > 0
