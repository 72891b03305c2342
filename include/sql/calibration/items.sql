-- One row an item of the tenant: its topic (of the question table, else the one most of its answers in the window
-- carry) and whether it is tagged as an anchor.
with answered as (
    select
        item_id,
        mode() within group (order by topic_id) as topic_id
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= %(window_start)s::date::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and item_id is not null
    group by item_id
),

questions as (
    select
        item_id,
        topic_id,
        coalesce(meta -> 'tags' ? 'anchor', false) as tagged_anchor
    from question
    where tenant_id = %(tenant_id)s
)

select
    item_id,
    coalesce(questions.topic_id, answered.topic_id) as topic_id,
    coalesce(questions.tagged_anchor, false) as tagged_anchor
from answered
full join questions using (item_id)
