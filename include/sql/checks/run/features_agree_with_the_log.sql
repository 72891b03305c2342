-- check: features agree with the log
-- expects: answers, correct answers and first attempts of each day written sum to those of the log
with written as (
    select
        count(*) > 0 as any_row,
        min(date) as first_day
    from features_topic_daily
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

-- A run writes the days since the run before it, a first run 26 weeks. A day run later for an earlier as_of does not
-- make what this run wrote wrong.
span as (
    select least(
        written.first_day,
        coalesce(last_features_day(%(tenant_id)s, %(as_of)s::date) + 1, %(as_of)s::date - 181)
    ) as first_day
    from written
),

features as (
    select
        date,
        sum(attempts) as attempts,
        sum(correct) as correct,
        sum(first_attempts) as first_attempts
    from features_topic_daily
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    group by date
),

log as (
    select
        (completed_at at time zone 'UTC')::date as date,
        count(*) as attempts,
        count(*) filter (where correct) as correct
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (select first_day from span)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and item_id is not null
        and topic_id is not null
        and correct is not null
    group by date
),

firsts as (
    select
        (attempt.completed_at at time zone 'UTC')::date as date,
        count(*) as first_attempts
    from span
    cross join lateral first_attempts(%(tenant_id)s, span.first_day, %(as_of)s::date) as attempt
    where attempt.topic_id is not null
    group by 1
)

select
    date,
    features.attempts,
    log.attempts as attempts_in_log,
    features.correct,
    log.correct as correct_in_log,
    features.first_attempts,
    firsts.first_attempts as first_attempts_in_log
from features
full join log using (date)
full join firsts using (date)
cross join written
where
    written.any_row
    and (
        features.attempts is distinct from log.attempts
        or features.correct is distinct from log.correct
        or features.first_attempts is distinct from coalesce(firsts.first_attempts, 0)
    )
