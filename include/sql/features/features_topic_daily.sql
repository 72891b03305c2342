-- One row a learner, topic and day from first_date to as_of on which the learner answered in the topic.
--
-- theta of a day in as_of's week is that of as_of. A day of an earlier week, which only a run that fills in missing
-- days writes, has the theta of its week's end (past_theta; without a topic, the learner's overall). improvement
-- compares the day's share correct with that of the 28 days before, from days in the topic before first_date too.
-- Negative times and numbers of hints count as not recorded.
insert into features_topic_daily (
    tenant_id,
    user_id,
    topic_id,
    date,
    as_of,
    attempts,
    correct,
    first_attempts,
    avg_time_ms,
    rt_median_ms,
    hints,
    theta_mean,
    theta_sd,
    theta_source,
    improvement,
    reconstructed
)
with answers as (
    select
        student_id as user_id,
        topic_id,
        (completed_at at time zone 'UTC')::date as date,
        correct,
        case when response_time_ms >= 0 then response_time_ms end as response_time_ms,
        case when hints >= 0 then hints end as hints
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(first_date)s::date - 28)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and topic_id is not null
        and item_id is not null
        and correct is not null
        and in_buckets(student_id, %(first_bucket)s::int, %(last_bucket)s::int)
),

first_answers as (
    select
        student_id as user_id,
        topic_id,
        (completed_at at time zone 'UTC')::date as date,
        count(*) as first_attempts
    from first_attempts(%(tenant_id)s, %(first_date)s::date, %(as_of)s::date)
    where in_buckets(student_id, %(first_bucket)s::int, %(last_bucket)s::int)
    group by student_id, topic_id, (completed_at at time zone 'UTC')::date
),

topic_theta as (
    select
        user_id,
        topic_id,
        date_trunc('week', %(as_of)s::date::timestamp)::date as week_start,
        theta,
        se
    from student_topic_theta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select
        user_id,
        topic_id,
        week_start,
        theta,
        se
    from past_theta
    where topic_id is not null
),

learner_theta as (
    select
        user_id,
        date_trunc('week', %(as_of)s::date::timestamp)::date as week_start,
        theta,
        se
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select
        user_id,
        week_start,
        theta,
        se
    from past_theta
    where topic_id is null
),

days as (
    select
        user_id,
        topic_id,
        date,
        date_trunc('week', date::timestamp)::date as week_start,
        count(*) as attempts,
        count(*) filter (where correct) as correct,
        avg(response_time_ms)::float8 as avg_time_ms,
        percentile_cont(0.5) within group (order by response_time_ms) as rt_median_ms,
        sum(hints) as hints
    from answers
    group by user_id, topic_id, date
),

compared as (
    select
        *,
        sum(attempts) over before_day as attempts_before,
        sum(correct) over before_day as correct_before
    from days
    window before_day as (
        partition by user_id, topic_id
        order by date
        range between interval '28 days' preceding and interval '1 day' preceding
    )
)

select
    %(tenant_id)s,
    compared.user_id,
    compared.topic_id,
    compared.date,
    %(as_of)s::date,
    compared.attempts,
    compared.correct,
    coalesce(first_answers.first_attempts, 0),
    compared.avg_time_ms,
    compared.rt_median_ms,
    compared.hints,
    coalesce(topic_theta.theta, learner_theta.theta),
    coalesce(topic_theta.se, learner_theta.se),
    case
        when topic_theta.theta is not null then 'student_topic_theta'
        when learner_theta.theta is not null then 'mirt_ability'
    end,
    compared.correct::float8 / compared.attempts - compared.correct_before::float8 / compared.attempts_before,
    compared.date < %(as_of)s::date
from compared
left join first_answers using (user_id, topic_id, date)
left join topic_theta using (user_id, topic_id, week_start)
left join learner_theta using (user_id, week_start)
where compared.date >= %(first_date)s::date
