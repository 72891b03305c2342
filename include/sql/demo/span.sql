-- One row: the UTC days that a tenant's log spans, and its answers.
select
    (min(completed_at) at time zone 'UTC')::date as first_day,
    (max(completed_at) at time zone 'UTC')::date as last_day,
    count(*) as answers
from attempt_log
where tenant_id = %(tenant_id)s
