-- One row an answer within [first_day, as_of], learner by learner. first: whether it is the learner's first answer to the
-- item ever, as first_attempts() has it (a test holds the two together); without look_back, the first within the window.
-- correct: null where it, or the item, is not known. Negative times and numbers of hints, and starts at infinity, count
-- as not recorded. topic_id, and started_at, hint_used and session_id: only where topics or sessions are asked for; they
-- are a third of what is sent. Of 1024 hash buckets of learners, those asked for.
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
),

answer as (
    select
        attempt.*,
        seen_before.item_id is not null as is_seen_before,
        row_number() over (
            partition by
                attempt.student_id collate "C",
                attempt.item_id collate "C",
                attempt.item_id is null or attempt.correct is null
            order by
                attempt.completed_at,
                attempt.attempt_no,
                attempt.started_at,
                attempt.correct,
                attempt.response_time_ms,
                attempt.timed_out,
                attempt.topic_id
        ) as place
    from attempt
    left join seen_before
        on seen_before.student_id = attempt.student_id and seen_before.item_id = attempt.item_id
    where
        attempt.tenant_id = %(tenant_id)s
        and attempt.completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
        and attempt.completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and attempt.student_id is not null
        and in_buckets(attempt.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
)

select
    student_id,
    coalesce(item_id, '') as item_id,
    case when %(topics)s then topic_id end as topic_id,
    case when item_id is not null then correct end as correct,
    completed_at,
    case when %(sessions)s and isfinite(started_at) then started_at end as started_at,
    case when response_time_ms >= 0 then response_time_ms end as response_time_ms,
    case when hints >= 0 then hints end as hints,
    case when %(sessions)s then hint_used end as hint_used,
    case when %(sessions)s then session_id end as session_id,
    coalesce(timed_out, false) as timed_out,
    item_id is not null and correct is not null and place = 1 and not is_seen_before as first
from answer
order by student_id collate "C"
