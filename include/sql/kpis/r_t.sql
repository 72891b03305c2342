-- One row a learner and week with a wrong answer that was tried again: R_t, the share of items answered wrong and tried
-- in a later session of the same four weeks that were then answered right. Interval: Wilson (1927).
create temporary table kpi_r_t on commit drop as
with window_day as (
    select
        week_start,
        last_day - days_before as day
    from kpi_week
    cross join generate_series(0, 27) as days_before
),

pair as (
    select
        learner,
        item_id
    from kpi_answer
    where outcome is not null
    group by learner, item_id
    having count(*) > 1 and not bool_and(outcome)
),

session_number as (
    select distinct
        learner,
        session,
        session_no
    from kpi_session_day
),

tries as (
    select
        answer.learner,
        answer.item_id,
        answer.day,
        answer.outcome,
        session_number.session_no
    from kpi_answer as answer
    join pair on pair.learner = answer.learner and pair.item_id = answer.item_id
    join session_number on session_number.learner = answer.learner and session_number.session = answer.session
    where answer.outcome is not null
),

since_wrong as (
    select
        window_day.week_start,
        tries.learner,
        tries.item_id,
        tries.outcome,
        tries.session_no,
        min(tries.session_no) filter (where not tries.outcome) over (
            partition by window_day.week_start, tries.learner, tries.item_id
        ) as wrong_session
    from window_day
    join tries on tries.day = window_day.day
),

item as (
    select
        week_start,
        learner,
        item_id,
        bool_or(outcome) as right_later
    from since_wrong
    where session_no > wrong_session
    group by week_start, learner, item_id
),

counted as (
    select
        week_start,
        learner,
        count(*) as n,
        count(*) filter (where right_later) as x
    from item
    group by week_start, learner
)

select
    learner,
    week_start,
    n,
    case when n >= %(items_needed)s then x::float8 / n end as value,
    case when n >= %(items_needed)s
        then greatest(0, (x + %(z)s ^ 2 / 2 - %(z)s * sqrt(x * (n - x)::float8 / n + %(z)s ^ 2 / 4)) / (n + %(z)s ^ 2))
    end as lower,
    case when n >= %(items_needed)s
        then least(1, (x + %(z)s ^ 2 / 2 + %(z)s * sqrt(x * (n - x)::float8 / n + %(z)s ^ 2 / 4)) / (n + %(z)s ^ 2))
    end as upper
from counted
