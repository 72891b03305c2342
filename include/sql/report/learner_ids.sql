-- One row a learner with KPIs on the day.
select user_id
from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and week_start = date_trunc('week', %(as_of)s::date::timestamp)
order by user_id collate "C"
