-- One row an answer: the flat log table attempt_log.
select
    tenant_id,
    student_id,
    item_id,
    topic_id,
    correct,
    completed_at,
    started_at,
    response_time_ms,
    hint_used,
    hints,
    attempt_no,
    session_id,
    timed_out
from attempt_log
