-- check: empty log
-- expects: the tenant has answers up to as_of
-- threshold: 0
with log as (
    select
        exists (
            select
            from attempt
            where
                tenant_id = %(tenant_id)s
                and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        ) as reaches_as_of,
        (select min(completed_at) from attempt where tenant_id = %(tenant_id)s) as first_answer
)

select
    (not reaches_as_of)::int::bigint as n,
    1::bigint as total,
    case
        when reaches_as_of then array[]::text[]
        when first_answer is null
            then array[format('tenant %%s has no answer at all', quote_literal(%(tenant_id)s::text))]
        else array[
            format(
                'the first answer of tenant %%s is of %%s, after as_of %%s',
                quote_literal(%(tenant_id)s::text),
                (first_answer at time zone 'UTC')::date,
                %(as_of)s::date
            )
        ]
    end as examples
from log
