-- One row an item that a learner has answered by the end of a day: that first answer, and whether it is of the window.
select
    student_id,
    item_id,
    correct,
    response_time_ms,
    coalesce(timed_out, false) as timed_out,
    completed_at >= %(window_start)s::date::timestamp at time zone 'UTC' as inside
from first_attempts(%(tenant_id)s, '-infinity'::date, %(as_of)s::date)
where student_id = %(student_id)s
