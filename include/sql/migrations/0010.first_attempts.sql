-- depends: 0009.published
-- The view attempt that the function reads is defined after the migrations.
set local check_function_bodies = off;

-- One row a learner and item first answered within [first_day, last_day]: that first answer. Answers that tie in time
-- are ordered by the other columns, so that the same log gives the same rows. The anti-join needs only the pairs of
-- the window in memory; earlier history streams past them.
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
        attempt.started_at,
        attempt.correct,
        attempt.response_time_ms,
        attempt.timed_out,
        attempt.topic_id
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

comment on function first_attempts(text, date, date) is 'Each learner''s first answer to an item ever, where it falls on a day from first_day to last_day. Later answers are not looked at.';
