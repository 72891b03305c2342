-- One row a first attempt within the window. Of 1024 hash buckets of learners, those asked for.
select
    student_id,
    item_id,
    correct,
    response_time_ms,
    coalesce(timed_out, false) as timed_out,
    completed_at >= %(late_from)s::date::timestamp at time zone 'UTC' as late
from first_attempts(%(tenant_id)s, %(window_start)s::date, %(as_of)s::date)
where in_buckets(student_id, %(first_bucket)s::int, %(last_bucket)s::int)
