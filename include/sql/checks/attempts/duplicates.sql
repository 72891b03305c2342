-- check: duplicates
-- expects: in the last 26 weeks no answer is recorded twice (same learner, item and time)
-- threshold: 0.1%%
with keys as not materialized (
    select
        student_id,
        item_id,
        completed_at,
        count(*) as copies
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(as_of)s::date - 181)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
    group by student_id, item_id, completed_at
),

counted as (
    select
        coalesce(sum(copies - 1), 0)::bigint as n,
        coalesce(sum(copies), 0)::bigint as total
    from keys
)

select
    n,
    total,
    case when n > 0 then array(
        select format(
            '%%s answered %%s at %%s, recorded %%s times',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            copies
        )
        from keys
        where copies > 1
        order by copies desc, completed_at, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
