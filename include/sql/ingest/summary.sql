-- One row: sizes and days of a tenant's log. Grouping hashes; count(distinct) would sort the log three times.
with learners as (
    select
        student_id,
        min(completed_at) as first_answer,
        max(completed_at) as last_answer
    from attempt_log
    where tenant_id = %(tenant_id)s
    group by student_id
),

items as (
    select
        item_id,
        topic_id
    from attempt_log
    where tenant_id = %(tenant_id)s
    group by item_id, topic_id
)

select
    (select count(*) from learners) as learners,
    (select count(distinct item_id) from items) as items,
    (select count(distinct topic_id) from items) as topics,
    (select (min(first_answer) at time zone 'UTC')::date from learners) as first_day,
    (select (max(last_answer) at time zone 'UTC')::date from learners) as last_day
