-- One row an item and UTC day: first attempts of the window.
select
    item_id,
    (completed_at at time zone 'UTC')::date as day,
    count(*) as n
from first_attempts(%(tenant_id)s, %(window_start)s::date, %(as_of)s::date)
group by item_id, (completed_at at time zone 'UTC')::date
