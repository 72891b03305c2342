-- check: correct
-- expects: every answer is marked correct or incorrect
-- threshold: 0
with answers as not materialized (
    select
        student_id,
        item_id,
        completed_at,
        correct is null as offends
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
            '%%s answered %%s at %%s: correct is neither true nor false',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        )
        from answers
        where offends
        order by completed_at, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
