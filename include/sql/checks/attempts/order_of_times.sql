-- check: answers before they started
-- expects: no answer is completed before it was started
-- threshold: 0.1%%
with answers as not materialized (
    select
        student_id,
        item_id,
        started_at,
        completed_at,
        started_at > completed_at as offends
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
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
            '%%s answered %%s at %%s, started at %%s',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        )
        from answers
        where offends
        order by completed_at, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
