-- One row a first attempt within the window, of the learners in some hash buckets. An array of buckets rather than a
-- range, because the planner takes a range of an expression for a two-hundredth of the table.
select
    student_id,
    item_id,
    correct,
    response_time_ms,
    coalesce(timed_out, false) as timed_out
from first_attempts(%(tenant_id)s, %(window_start)s::date, %(as_of)s::date)
where (hashtextextended(student_id, 0) & 1023) = any(%(buckets)s::bigint[])
