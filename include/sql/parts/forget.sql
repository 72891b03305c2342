-- Deletes what the shards of a job left for a day: all of them, or one.
delete from job_part
where
    tenant_id = %(tenant_id)s
    and job = %(job)s
    and as_of = %(as_of)s
    and (%(shard)s::int is null or shard = %(shard)s::int)
