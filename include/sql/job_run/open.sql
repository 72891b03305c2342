-- Opens the bookkeeping row of one run of one job. Returns its id.
insert into job_run (tenant_id, job, as_of, dag_run_id, try_number, status, code_version, parameters)
values (
    %(tenant_id)s,
    %(job)s,
    %(as_of)s,
    %(dag_run_id)s,
    %(try_number)s,
    'running',
    %(code_version)s,
    %(parameters)s
)
returning job_run_id
