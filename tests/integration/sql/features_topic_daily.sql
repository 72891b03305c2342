-- One row a day of the 26 weeks up to as_of on which a learner answered in a topic.
with answer as (
    select
        *,
        (completed_at at time zone 'UTC')::date as date
    from attempt
    where
        tenant_id = %(tenant)s
        and student_id = %(learner)s
        and (completed_at at time zone 'UTC')::date <= %(as_of)s
),

in_topic as (
    select
        date,
        correct,
        response_time_ms,
        hints,
        not exists (
            select
            from answer as earlier
            where earlier.item_id = answer.item_id and earlier.completed_at < answer.completed_at
        ) as first
    from answer
    where topic_id = %(topic)s
)

select
    date,
    count(*) as attempts,
    count(*) filter (where correct) as correct,
    count(*) filter (where first) as first_attempts,
    avg(response_time_ms) as avg_time_ms,
    percentile_cont(0.5) within group (order by response_time_ms) as rt_median_ms,
    sum(hints) as hints,
    avg(correct::int) - (
        select avg(before.correct::int)
        from in_topic as before
        where before.date between in_topic.date - 28 and in_topic.date - 1
    ) as improvement
from in_topic
where date > %(as_of)s - 182
group by date
order by date
