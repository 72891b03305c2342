-- One row: answers within the window, those of them that name no learner, no item or no correctness, and the items that
-- they go to.
with by_item as (
    select
        item_id,
        count(*) as answers,
        count(*) filter (where student_id is null or item_id is null or correct is null) as incomplete
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= %(window_start)s::date::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
    group by item_id
)

select
    coalesce(sum(answers), 0)::bigint as answers,
    coalesce(sum(incomplete), 0)::bigint as incomplete,
    count(item_id) as items
from by_item
