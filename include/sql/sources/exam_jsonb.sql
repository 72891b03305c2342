-- One row an answer: exams with their questions as a jsonb array, one row of table exam_result an exam.
--
-- exam_result(exam_id, student_id, finished_at timestamptz, questions jsonb)
-- questions: [{"question_id": "q1", "topic_id": "algebra", "correct": true, and, where recorded, "answered_at" and
-- "started_at" (ISO 8601 with zone), "response_time_ms", "hints", "attempt_no", "timed_out"}, ...]
--
-- An answer without a time of its own has its exam's end. The exam is the session.
with exams as (
    select
        exam_id::text as exam_id,
        student_id::text as student_id,
        finished_at,
        case jsonb_typeof(questions) when 'array' then questions else '[]' end as questions
    from exam_result
),

answers as (
    select
        exams.exam_id,
        exams.student_id,
        exams.finished_at,
        question.answer
    from exams
    cross join jsonb_array_elements(exams.questions) as question (answer)
)

select
    'default'::text as tenant_id,
    student_id,
    answer ->> 'question_id' as item_id,
    answer ->> 'topic_id' as topic_id,
    json_flag(answer ->> 'correct') as correct,
    case when answer ? 'answered_at' then json_time(answer ->> 'answered_at') else finished_at end as completed_at,
    json_time(answer ->> 'started_at') as started_at,
    json_count(answer ->> 'response_time_ms') as response_time_ms,
    json_count(answer ->> 'hints') > 0 as hint_used,
    json_count(answer ->> 'hints') as hints,
    json_count(answer ->> 'attempt_no') as attempt_no,
    exam_id as session_id,
    json_flag(answer ->> 'timed_out') as timed_out
from answers
