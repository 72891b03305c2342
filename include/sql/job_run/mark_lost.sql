-- Marks runs as lost that were killed before they could say so: this run holds their lock, so they are gone.
update job_run
set
    status = 'lost',
    error = 'killed before it could end',
    finished_at = now()
where
    tenant_id = %(tenant_id)s
    and job = %(job)s
    and as_of = %(as_of)s
    and status = 'running'
