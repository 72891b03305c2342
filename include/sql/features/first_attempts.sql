-- One row a first attempt on an item of the bank within [first_day, as_of], learner by learner; day counts from
-- first_day. Of 1024 hash buckets of learners, those asked for.
select
    first_attempt.student_id,
    first_attempt.item_id,
    first_attempt.topic_id,
    first_attempt.correct,
    (first_attempt.completed_at at time zone 'UTC')::date - %(first_day)s::date as day,
    first_attempt.response_time_ms,
    coalesce(first_attempt.timed_out, false) as timed_out
from first_attempts(%(tenant_id)s, %(first_day)s::date, %(as_of)s::date) as first_attempt
join published_items(%(tenant_id)s, %(as_of)s::date) as bank using (item_id)
where in_buckets(first_attempt.student_id, %(first_bucket)s::int, %(last_bucket)s::int)
order by first_attempt.student_id
