-- One row: the UTC day of the tenant's first answer; null where there is none.
select (min(completed_at) at time zone 'UTC')::date as day
from attempt
where tenant_id = %(tenant_id)s
