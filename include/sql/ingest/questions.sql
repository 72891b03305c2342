-- Adds a tenant's items to question. An item answered under several topics has the one it was answered under most
-- often (of equals the first by name). Tags and bank parameters that are there already stay.
insert into question (tenant_id, item_id, topic_id)
select
    tenant_id,
    item_id,
    mode() within group (order by topic_id) as topic_id
from attempt_log
where tenant_id = %(tenant_id)s
group by tenant_id, item_id
on conflict (tenant_id, item_id) do update set topic_id = excluded.topic_id
