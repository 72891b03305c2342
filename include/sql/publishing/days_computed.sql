-- One row a day since then whose KPIs are computed.
select distinct as_of
from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of >= %(since)s
order by as_of
