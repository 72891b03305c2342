-- Marks runs as lost that were killed before they could say so: this run holds their lock, so they are gone.
-- The job itself keeps all shards away.
update job_run
set
    status = 'lost',
    error = 'killed before it could end',
    finished_at = now()
where
    tenant_id = %(tenant_id)s
    and job = %(job)s
    and as_of = %(as_of)s
    and (%(shard)s::text is null or parameters ->> 'shard' = %(shard)s::text)
    and status = 'running'
