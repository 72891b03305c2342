-- One row a learner and week to write: learners with an answer in the eight weeks that end with the week's last day.
-- Days with answers and last days of weeks are laid in one order, so that the last answer before each is at hand.
create temporary table kpi_learner_week on commit drop as
with events as (
    select
        learner,
        day,
        null::date as week_start
    from kpi_session_day
    union all
    select
        kpi_learner.learner,
        kpi_week.last_day,
        kpi_week.week_start
    from kpi_learner
    cross join kpi_week
),

preceded as (
    select
        *,
        max(day) filter (where week_start is null) over (
            partition by learner
            order by day, week_start nulls first
            rows unbounded preceding
        ) as last_answered
    from events
)

select
    learner,
    week_start,
    day as last_day
from preceded
where week_start is not null and last_answered >= day - 55
