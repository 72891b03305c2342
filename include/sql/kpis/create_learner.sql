-- One row a learner with an answer within [first_day, as_of], numbered: integers group and join faster than texts.
create temporary table kpi_learner on commit drop as
with seen as (
    select distinct student_id as user_id
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and in_buckets(student_id, %(first_bucket)s::int, %(last_bucket)s::int)
)

select
    row_number() over (order by user_id collate "C")::int as learner,
    user_id
from seen
