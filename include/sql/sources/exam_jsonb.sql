-- One row an answer: exams with their questions as a jsonb array, one row of table exam_result an exam.
--
-- exam_result(exam_id, student_id, started_at timestamptz, finished_at timestamptz, questions jsonb)
-- questions: [{"question_id": "q1", "topic_id": "algebra", "correct": true, and, where recorded, "answered_at",
-- "started_at" (ISO 8601 with zone), "response_time_ms", "hints", "timed_out"}, ...]
--
-- A value of another type than expected (correct = "maybe", a time without zone) becomes null, for check_attempts to
-- count: one bad exam must not make the whole log unreadable. An answer without a time of its own has its exam's end.
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
        question.answer,
        case when question.answer ->> 'answered_at' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
            then (question.answer ->> 'answered_at')::timestamptz
        end as answered_at,
        case when question.answer ->> 'started_at' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
            then (question.answer ->> 'started_at')::timestamptz
        end as started_at,
        case when question.answer ->> 'response_time_ms' ~ '^\d{1,9}(\.\d+)?$'
            then (question.answer ->> 'response_time_ms')::numeric::int
        end as response_time_ms,
        case when question.answer ->> 'hints' ~ '^\d{1,9}$'
            then (question.answer ->> 'hints')::int
        end as hints
    from exams
    cross join jsonb_array_elements(exams.questions) as question (answer)
)

select
    'default'::text as tenant_id,
    student_id,
    answer ->> 'question_id' as item_id,
    answer ->> 'topic_id' as topic_id,
    case answer ->> 'correct' when 'true' then true when '1' then true when 'false' then false when '0' then false end
        as correct,
    case when answer ? 'answered_at' then answered_at else finished_at end as completed_at,
    started_at,
    response_time_ms,
    hints > 0 as hint_used,
    hints,
    null::int as attempt_no,
    exam_id as session_id,
    case answer ->> 'timed_out' when 'true' then true when 'false' then false end as timed_out
from answers
