-- depends: 0021.daily_features_by_day
set local check_function_bodies = off;

-- As before, but for answers that tie in time: they are ordered by what jobs read of every answer, so that a job that has
-- read all answers finds the same first ones (Attempts.first_answers).
create or replace function first_attempts(tenant text, first_day date, last_day date)
returns table (
    student_id text,
    item_id text,
    topic_id text,
    correct boolean,
    completed_at timestamptz,
    response_time_ms int,
    timed_out boolean
)
language sql stable parallel safe
as $function$
with first_in_window as (
    select distinct on (attempt.student_id, attempt.item_id)
        attempt.student_id,
        attempt.item_id,
        attempt.topic_id,
        attempt.correct,
        attempt.completed_at,
        attempt.response_time_ms,
        attempt.timed_out
    from attempt
    where
        attempt.tenant_id = first_attempts.tenant
        and attempt.completed_at >= first_attempts.first_day::timestamp at time zone 'UTC'
        and attempt.completed_at < (first_attempts.last_day + 1)::timestamp at time zone 'UTC'
        and attempt.student_id is not null
        and attempt.item_id is not null
        and attempt.correct is not null
    order by
        attempt.student_id,
        attempt.item_id,
        attempt.completed_at,
        attempt.attempt_no,
        attempt.correct,
        case when attempt.response_time_ms >= 0 then attempt.response_time_ms end,
        coalesce(attempt.timed_out, false),
        attempt.topic_id collate "C"
)

select first_in_window.*
from first_in_window
where not exists (
    select
    from attempt as earlier
    where
        earlier.tenant_id = first_attempts.tenant
        and earlier.student_id = first_in_window.student_id
        and earlier.item_id = first_in_window.item_id
        and earlier.completed_at < first_attempts.first_day::timestamp at time zone 'UTC'
        and earlier.correct is not null
)
$function$;
