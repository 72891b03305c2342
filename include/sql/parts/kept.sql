-- One row a shard and table that this run and basis left for a day within twelve hours, where all shards of their number
-- did.
with own as (
    select
        shard,
        name,
        columns,
        rows
    from job_part
    where
        tenant_id = %(tenant_id)s
        and job = %(job)s
        and as_of = %(as_of)s
        and shards = %(shards)s
        and basis = %(basis)s
        and dag_run_id is not distinct from %(dag_run_id)s
        and kept_at > now() - interval '12 hours'
        and piece = 0
)

select own.*
from own
where (select count(distinct shard) from own) = %(shards)s
order by name, shard
