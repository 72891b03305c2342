-- One row an answer within [first_day, as_of]. began_at: when the item was shown, null where it cannot be known. hints:
-- null where not recorded. A start after the answer, a negative time or number of hints counts as not recorded. session: the platform's, or where it records none a stretch of answers without a pause of
-- over 30 minutes. outcome: whether the answer is right, null where it is no evidence (timed out or rapid).
create temporary table kpi_answer on commit drop as
with answer as (
    select
        kpi_learner.learner,
        attempt.item_id,
        attempt.completed_at,
        coalesce(
            case when attempt.started_at <= attempt.completed_at then attempt.started_at end,
            case when attempt.response_time_ms >= 0
                then attempt.completed_at - attempt.response_time_ms * interval '1 millisecond'
            end
        ) as began_at,
        coalesce(case when attempt.hints >= 0 then attempt.hints end, attempt.hint_used::int) as hints,
        attempt.session_id,
        case
            when not (
                coalesce(attempt.timed_out, false)
                or coalesce(
                    attempt.response_time_ms >= 0
                    and attempt.response_time_ms < %(rapid_share)s * kpi_bank.median_time_ms,
                    false
                )
            ) then attempt.correct
            when %(invalid_answers)s = 'wrong' then false
        end as outcome
    from attempt
    join kpi_learner on kpi_learner.user_id = attempt.student_id
    left join kpi_bank on kpi_bank.item_id = attempt.item_id
    where
        attempt.tenant_id = %(tenant_id)s
        and in_buckets(attempt.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
        and attempt.completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
        and attempt.completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
),

paused as (
    select
        *,
        coalesce(began_at, completed_at) - lag(completed_at) over learner_order as pause
    from answer
    window learner_order as (
        partition by learner, session_id is null
        order by completed_at, began_at, item_id collate "C"
    )
),

stretched as (
    select
        *,
        count(*) filter (where pause > interval '30 minutes') over (
            partition by learner, session_id is null
            order by completed_at, began_at, item_id collate "C"
            rows unbounded preceding
        ) as stretch
    from paused
)

select
    learner,
    item_id,
    (completed_at at time zone 'UTC')::date as day,
    completed_at,
    began_at,
    hints,
    coalesce('recorded ' || session_id, 'derived ' || stretch) as session,
    session_id is null as derived,
    outcome
from stretched
