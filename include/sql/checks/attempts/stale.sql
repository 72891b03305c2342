-- check: stale log
-- expects: at most 14 days without an answer before as_of (after that every recent window is empty)
-- threshold: 14
with log as (
    select max(completed_at) as newest
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
),

silence as (
    select
        newest,
        coalesce(%(as_of)s::date - (newest at time zone 'UTC')::date, 0)::bigint as days
    from log
)

select
    days as n,
    days as total,
    case
        when days > 0 then array[
            format(
                'the newest answer up to as_of %%s is of %%s',
                %(as_of)s::date,
                to_char(newest at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            )
        ]
        else array[]::text[]
    end as examples
from silence
