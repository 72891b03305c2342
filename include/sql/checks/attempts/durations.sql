-- check: negative or absurd times
-- expects: response times lie between 0 and 24 hours, hint counts are not negative
-- threshold: 0.1%%
with answers as not materialized (
    select
        student_id,
        item_id,
        completed_at,
        response_time_ms,
        hints,
        response_time_ms not between 0 and 24 * 60 * 60 * 1000 or hints < 0 as offends
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
            '%%s answered %%s at %%s: response_time_ms %%s, hints %%s',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            coalesce(response_time_ms::text, 'null'),
            coalesce(hints::text, 'null')
        )
        from answers
        where offends
        order by completed_at, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
