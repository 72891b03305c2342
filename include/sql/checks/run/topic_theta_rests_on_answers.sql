-- check: topic theta rests on answers
-- expects: a topic's theta rests on first attempts in it; its prior is at least as wide as tau
with written as (
    select
        theta.user_id,
        theta.topic_id,
        theta.n_responses,
        theta.prior_sd,
        theta.tau,
        fit.window_start
    from student_topic_theta as theta
    join mirt_fit_meta as fit using (tenant_id, run_id)
    where theta.tenant_id = %(tenant_id)s and theta.as_of = %(as_of)s
),

answered as (
    select
        attempt.student_id as user_id,
        attempt.topic_id,
        count(*) as first_attempts
    from (select min(window_start) as first_day from written) as span
    cross join lateral first_attempts(%(tenant_id)s, span.first_day, %(as_of)s::date) as attempt
    group by attempt.student_id, attempt.topic_id
)

select
    written.user_id,
    written.topic_id,
    written.n_responses,
    coalesce(answered.first_attempts, 0) as first_attempts,
    written.prior_sd,
    written.tau
from written
left join answered using (user_id, topic_id)
where
    written.n_responses > coalesce(answered.first_attempts, 0)
    or written.prior_sd < written.tau
