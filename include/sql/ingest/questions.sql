-- Adds a tenant's items to question. An item answered under several topics has the one it was answered under most
-- often (of equals the first by name). Tags and bank parameters that are there already stay.
insert into question (tenant_id, item_id, topic_id)
with topics as (
    select
        item_id,
        topic_id,
        count(*) as answers
    from attempt_log
    where tenant_id = %(tenant_id)s
    group by item_id, topic_id
)

select distinct on (item_id)
    %(tenant_id)s,
    item_id,
    topic_id
from topics
order by item_id, answers desc, topic_id
on conflict (tenant_id, item_id) do update set topic_id = excluded.topic_id
