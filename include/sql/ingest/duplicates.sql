-- One row: how many answers of a tenant's log are recorded more than once, and three of them.
with repeated as materialized (
    select
        student_id,
        item_id,
        completed_at,
        count(*) as copies
    from attempt_log
    where tenant_id = %(tenant_id)s
    group by student_id, item_id, completed_at
    having count(*) > 1
)

select
    (select count(*) from repeated) as n,
    array(
        select format(
            'student_id %%L, item_id %%L, completed_at %%s: %%s rows',
            student_id,
            item_id,
            to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            copies
        )
        from repeated
        order by completed_at, student_id, item_id
        limit 3
    ) as examples
