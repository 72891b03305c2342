-- check: null keys
-- expects: every answer names its tenant, learner, item, topic and time
-- threshold: 0
with answers as not materialized (
    select
        student_id,
        item_id,
        topic_id,
        completed_at,
        (
            tenant_id is null
            or coalesce(student_id, '') = ''
            or coalesce(item_id, '') = ''
            or coalesce(topic_id, '') = ''
            or completed_at is null
        ) as offends
    from attempt
    where
        (tenant_id = %(tenant_id)s or tenant_id is null)
        and (completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC' or completed_at is null)
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
            'student_id %%s, item_id %%s, topic_id %%s, completed_at %%s',
            coalesce(quote_literal(student_id), 'null'),
            coalesce(quote_literal(item_id), 'null'),
            coalesce(quote_literal(topic_id), 'null'),
            coalesce(to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'null')
        )
        from answers
        where offends
        order by completed_at, student_id, item_id
        limit 3
    ) else array[]::text[] end as examples
from counted
