-- One row: the answers within [first_day, as_of].
select count(*) as answers
from attempt
where
    tenant_id = %(tenant_id)s
    and completed_at >= %(first_day)s::date::timestamp at time zone 'UTC'
    and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
