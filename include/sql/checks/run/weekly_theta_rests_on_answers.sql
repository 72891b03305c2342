-- check: weekly theta rests on answers
-- expects: a week's theta rests on no more answers than the learner's first attempts in that week, up to as_of
with written as (
    select
        user_id,
        week_start,
        n
    from student_week_theta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

answered as (
    select
        attempt.student_id as user_id,
        date_trunc('week', attempt.completed_at at time zone 'UTC')::date as week_start,
        count(*) as first_attempts
    from (select min(week_start) as first_day from written) as span
    cross join lateral first_attempts(%(tenant_id)s, span.first_day, %(as_of)s::date) as attempt
    group by 1, 2
)

select
    written.user_id,
    written.week_start,
    written.n,
    coalesce(answered.first_attempts, 0) as first_attempts
from written
left join answered using (user_id, week_start)
where written.n > coalesce(answered.first_attempts, 0)
