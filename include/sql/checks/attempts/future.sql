-- check: answers from the future
-- expects: no answer is later than now (runs never look past as_of, but clocks that run ahead also misplace the past)
-- threshold: 0.1%%
with answers as not materialized (
    select
        student_id,
        item_id,
        completed_at,
        completed_at > now() + interval '5 minutes' as offends
    from attempt
    where tenant_id = %(tenant_id)s
),

counted as (
    select
        count(*) filter (where offends) as n,
        count(*) as total
    from answers
)

select
    n,
    total,
    case when n > 0 then array(
        select format(
            '%%s answered %%s at %%s, in the future',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        )
        from answers
        where offends
        order by completed_at desc, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
