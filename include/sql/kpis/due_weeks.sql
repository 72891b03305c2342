-- One row a week to write: as_of's own, and past ones of the longest window that no earlier run has seen complete.
with week as (
    select date_trunc('week', %(as_of)s::date::timestamp)::date - 7 * weeks_ago as week_start
    from generate_series(0, %(history_weeks)s::int - 1) as weeks_ago
)

select
    week.week_start,
    least(week.week_start + 6, %(as_of)s::date) as last_day
from week
where
    week.week_start = date_trunc('week', %(as_of)s::date::timestamp)::date
    or not exists (
        select
        from weekly_kpi
        where
            weekly_kpi.tenant_id = %(tenant_id)s
            and weekly_kpi.week_start = week.week_start
            and weekly_kpi.as_of >= week.week_start + 6
            and weekly_kpi.as_of < %(as_of)s
    )
order by week.week_start
