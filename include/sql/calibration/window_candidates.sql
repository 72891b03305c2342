-- One row a day from which a calibration window might start: of the items that windows [window_start, as_of] hold
-- first attempts of, how many there are and how many of them reach the minimum. Days on which neither number changes
-- have no row.
with answers as (
    select
        item_id,
        (completed_at at time zone 'UTC')::date as day
    from first_attempts(%(tenant_id)s, %(search_start)s::date, %(as_of)s::date)
),

item_days as (
    select
        item_id,
        day,
        count(*) as n
    from answers
    group by item_id, day
),

running as (
    select
        item_id,
        day,
        sum(n) over (partition by item_id order by day desc) as n_since
    from item_days
),

items as (
    select
        max(day) as answered_since,
        max(day) filter (where n_since >= %(minimum)s::int) as enough_since
    from running
    group by item_id
),

changes as (
    select
        answered_since as day,
        1 as answered,
        0 as enough
    from items
    union all
    select
        enough_since as day,
        0 as answered,
        1 as enough
    from items
    where enough_since is not null
)

select
    day as window_start,
    (sum(sum(answered)) over (order by day desc))::bigint as items,
    (sum(sum(enough)) over (order by day desc))::bigint as items_enough
from changes
group by day
order by day desc
