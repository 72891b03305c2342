-- check: inhuman numbers of answers
-- expects: in the last 26 weeks no learner gives over 1,500 answers in one UTC day
-- threshold: 0.1%%
-- 1,500 is one answer every half minute for twelve hours.
with days as not materialized (
    select
        student_id,
        (completed_at at time zone 'UTC')::date as day,
        count(*) as answers
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(as_of)s::date - 181)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
    group by student_id, day
),

counted as (
    select
        count(*) filter (where answers > 1500) as n,
        count(*) as total
    from days
)

select
    n,
    total,
    case when n > 0 then array(
        select format('%%s gave %%s answers on %%s', student_id, answers, day)
        from days
        where answers > 1500
        order by answers desc, student_id, day
        limit 3
    ) else array[]::text[] end as examples
from counted
