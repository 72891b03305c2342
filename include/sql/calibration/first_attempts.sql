-- One row a first attempt within the window.
select
    student_id,
    item_id,
    correct,
    response_time_ms,
    coalesce(timed_out, false) as timed_out
from first_attempts(%(tenant_id)s, %(window_start)s::date, %(as_of)s::date)
