-- One row: sizes and days of a tenant's log.
select
    count(distinct student_id) as learners,
    count(distinct item_id) as items,
    count(distinct topic_id) as topics,
    min((completed_at at time zone 'UTC')::date) as first_day,
    max((completed_at at time zone 'UTC')::date) as last_day
from attempt_log
where tenant_id = %(tenant_id)s
