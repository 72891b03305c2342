-- check: KPIs of every active learner
-- expects: as_of's week has a KPI row for each learner with an answer in the 56 days up to as_of, and for nobody else
with ran as (
    select exists (select from weekly_kpi where tenant_id = %(tenant_id)s and as_of = %(as_of)s) as kpis
),

written as (
    select user_id
    from weekly_kpi
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and not reconstructed
),

active as (
    select distinct student_id as user_id
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(as_of)s::date - 55)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and item_id is not null
        and correct is not null
)

select
    user_id,
    case when written.user_id is null then 'has no row' else 'has a row without an answer' end as problem
from written
full join active using (user_id)
cross join ran
where ran.kpis and (written.user_id is null or active.user_id is null)
