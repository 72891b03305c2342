-- One row an item of the tenant: its topic (of the question table, else the one most of its answers in the window
-- carry), whether it is tagged as an anchor, and its documented parameters (null where they are no such numbers).
with topics as (
    select
        item_id,
        topic_id,
        count(*) as n
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= %(window_start)s::date::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and item_id is not null
    group by item_id, topic_id
),

answered as (
    select distinct on (item_id)
        item_id,
        topic_id
    from topics
    order by
        item_id,
        topic_id is null,
        n desc,
        topic_id
),

questions as (
    select
        item_id,
        topic_id,
        coalesce(meta -> 'tags' ? 'anchor', false) as tagged_anchor,
        case when jsonb_typeof(meta #> '{irt,a}') = 'number' then (meta #>> '{irt,a}')::numeric end as a,
        case when jsonb_typeof(meta #> '{irt,b}') = 'number' then (meta #>> '{irt,b}')::numeric end as b,
        case
            when jsonb_typeof(meta #> '{irt,c}') = 'number' then (meta #>> '{irt,c}')::numeric
            when meta #> '{irt,c}' is null then 0
        end as c
    from question
    where tenant_id = %(tenant_id)s
),

documented as (
    select
        item_id,
        a::float8 as a,
        b::float8 as b,
        c::float8 as c
    from questions
    where a > 0 and a < 1e6 and abs(b) < 1e6 and c >= 0 and c < 1
)

select
    item_id,
    coalesce(questions.topic_id, answered.topic_id) as topic_id,
    coalesce(questions.tagged_anchor, false) as tagged_anchor,
    documented.a,
    documented.b,
    documented.c
from answered
full join questions using (item_id)
left join documented using (item_id)
