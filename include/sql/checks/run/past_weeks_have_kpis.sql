-- check: past weeks have KPIs
-- expects: each of the 26 weeks up to as_of has KPIs where there are answers in its eight weeks
with ran as (
    select exists (select from weekly_kpi where tenant_id = %(tenant_id)s and as_of = %(as_of)s) as kpis
),

weeks as (
    select date_trunc('week', %(as_of)s::date::timestamp)::date - 7 * weeks_ago as week_start
    from generate_series(0, 25) as weeks_ago
),

days as (
    select distinct (completed_at at time zone 'UTC')::date as day
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(as_of)s::date - 182 - 55)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and item_id is not null
        and correct is not null
)

select weeks.week_start
from weeks
cross join ran
where
    ran.kpis
    and exists (select from days where days.day between weeks.week_start + 6 - 55 and weeks.week_start + 6)
    and not exists (
        select
        from weekly_kpi
        where
            weekly_kpi.tenant_id = %(tenant_id)s
            and weekly_kpi.week_start = weeks.week_start
            and weekly_kpi.as_of <= %(as_of)s
    )
