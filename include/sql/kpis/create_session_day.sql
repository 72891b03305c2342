-- One row a learner, session and UTC day: the part of the session that falls on the day, so that windows of whole days
-- never see what came after them. session_no orders a learner's sessions by their first answer.
create temporary table kpi_session_day on commit drop as
with session_day as (
    select
        learner,
        session,
        day,
        derived,
        min(began_at) as began_at,
        min(completed_at) as first_completed_at,
        max(completed_at) as ended_at,
        count(*)::int as answers,
        count(hints)::int as hint_answers,
        sum(hints)::int as hints,
        sum(hints::bigint * hints)::bigint as squared_hints
    from kpi_answer
    group by learner, session, day, derived
),

opened as (
    select
        *,
        min(first_completed_at) over (partition by learner, session) as opened_at
    from session_day
)

select
    *,
    dense_rank() over (partition by learner order by opened_at, session collate "C") as session_no
from opened
