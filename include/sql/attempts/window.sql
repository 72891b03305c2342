-- One row an answer within [first_day, as_of], in any order: to sort would take longer than all else. Negative times and
-- numbers of hints, and starts at infinity, count as not recorded. topic_id, and started_at, hint_used and session: only
-- where topics or sessions are asked for; they are a third of what is sent. session: a hash of session_id; no learner has
-- so many sessions that two might share one. flags: one number, for every column costs; the sum of correct (0, 1; 2 where
-- it, or the item, is not known), 4 where it timed out, 8 where the learner had answered the item before first_day,
-- correctness known (without look_back nothing before that day is looked at), and 16 times hint_used (0, 1; 2 where it
-- is not known). Of 1024 hash buckets of learners, those asked for.
with seen_before as (
    select distinct
        earlier.student_id,
        earlier.item_id
    from attempt as earlier
    where
        %(look_back)s
        and earlier.tenant_id = %(tenant_id)s
        and earlier.completed_at < %(first_day)s::date::timestamp at time zone 'UTC'
        and earlier.correct is not null
        and in_buckets(earlier.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
        and exists (
            select
            from attempt as answer
            where
                answer.tenant_id = %(tenant_id)s
                and answer.completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
                and answer.completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
                and answer.student_id = earlier.student_id
                and answer.item_id = earlier.item_id
                and in_buckets(answer.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
        )
)

select
    answer.student_id,
    coalesce(answer.item_id, '') as item_id,
    case when %(topics)s then answer.topic_id end as topic_id,
    answer.completed_at,
    case when %(sessions)s and isfinite(answer.started_at) then answer.started_at end as started_at,
    case when answer.response_time_ms >= 0 then answer.response_time_ms end as response_time_ms,
    case when answer.hints >= 0 then answer.hints end as hints,
    case when %(sessions)s then hashtextextended(answer.session_id, 0) end as session,
    answer.attempt_no,
    (
        case when answer.item_id is null then 2 else coalesce(answer.correct::int, 2) end
        + case when answer.timed_out then 4 else 0 end
        + case when seen_before.item_id is not null then 8 else 0 end
        + case when %(sessions)s then 16 * coalesce(answer.hint_used::int, 2) else 32 end
    )::smallint as flags
from attempt as answer
left join seen_before using (student_id, item_id)
where
    answer.tenant_id = %(tenant_id)s
    and answer.completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
    and answer.completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
    and answer.student_id is not null
    and in_buckets(answer.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
