-- One row a first answer to an item ever that falls within [first_day, as_of]; outcome as in kpi_answer.
-- In the order of learners. relative_time: log of the response time over the item's median, null where unknown or where the answer is invalid.
create temporary table kpi_first_attempt on commit drop as
with judged as (
    select
        kpi_learner.learner,
        kpi_bank.item,
        first_attempt.item_id,
        (first_attempt.completed_at at time zone 'UTC')::date as day,
        first_attempt.correct,
        first_attempt.response_time_ms,
        kpi_bank.median_time_ms,
        coalesce(first_attempt.timed_out, false) as timed_out,
        coalesce(
            first_attempt.response_time_ms >= 0
            and first_attempt.response_time_ms < %(rapid_share)s * kpi_bank.median_time_ms,
            false
        ) as rapid
    from first_attempts(%(tenant_id)s, %(first_day)s::date, %(as_of)s::date) as first_attempt
    join kpi_learner on kpi_learner.user_id = first_attempt.student_id
    left join kpi_bank on kpi_bank.item_id = first_attempt.item_id
    where in_buckets(first_attempt.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
)

select
    learner,
    item,
    item_id,
    day,
    coalesce(response_time_ms >= 0, false) as timed,
    timed_out,
    rapid,
    case
        when not (timed_out or rapid) then correct
        when %(invalid_answers)s = 'wrong' then false
    end as outcome,
    case
        when response_time_ms > 0 and median_time_ms > 0 and not (timed_out or rapid)
            then ln(response_time_ms / median_time_ms)
    end as relative_time
from judged
order by learner
