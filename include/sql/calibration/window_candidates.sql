-- One row a day from which a calibration window might start: how many items the answers of [window_start, as_of] go to,
-- and how many of these items have the minimum of first attempts there. Days on which neither changes have no row.
with answered as (
    select
        item_id,
        (max(completed_at) at time zone 'UTC')::date as day
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= %(search_start)s::date::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and item_id is not null
    group by item_id
),

first_attempt_days as (
    select
        item_id,
        (completed_at at time zone 'UTC')::date as day,
        count(*) as n
    from first_attempts(%(tenant_id)s, %(search_start)s::date, %(as_of)s::date)
    group by item_id, (completed_at at time zone 'UTC')::date
),

running as (
    select
        item_id,
        day,
        sum(n) over (partition by item_id order by day desc) as n_since
    from first_attempt_days
),

enough as (
    select
        item_id,
        max(day) as day
    from running
    where n_since >= %(minimum)s::int
    group by item_id
),

changes as (
    select
        day,
        1 as items,
        0 as items_enough
    from answered
    union all
    select
        day,
        0 as items,
        1 as items_enough
    from enough
)

select
    day as window_start,
    (sum(sum(items)) over (order by day desc))::bigint as items,
    (sum(sum(items_enough)) over (order by day desc))::bigint as items_enough
from changes
group by day
order by day desc
