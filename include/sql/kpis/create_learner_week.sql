-- One row a learner and week to write: learners with an answer in the eight weeks that end with the week's last day.
create temporary table kpi_learner_week on commit drop as
with active as (
    select distinct
        learner,
        day
    from kpi_session_day
)

select distinct
    active.learner,
    kpi_week.week_start,
    kpi_week.last_day
from kpi_week
join active on active.day between kpi_week.last_day - 55 and kpi_week.last_day
