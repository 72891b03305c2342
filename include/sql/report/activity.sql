-- One row for the seven days up to the day and one for the seven days before: learners who answered, and answers.
with picked as (
    select distinct on (user_id, topic_id, date)
        user_id,
        date,
        attempts,
        correct
    from features_topic_daily
    where
        tenant_id = %(tenant_id)s
        and date between %(as_of)s::date - 13 and %(as_of)s
        and as_of <= %(as_of)s
    order by user_id, topic_id, date, reconstructed, as_of desc
)

select
    case when date > %(as_of)s::date - 7 then %(as_of)s::date else %(as_of)s::date - 7 end as last_day,
    count(distinct user_id) as learners,
    sum(attempts)::bigint as answers,
    sum(correct)::bigint as correct
from picked
group by 1
order by 1
