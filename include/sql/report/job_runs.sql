-- One row a job that ran for the day: its newest run, the report itself left out.
select distinct on (job)
    job,
    status,
    reason,
    error,
    exit_code,
    code_version,
    parameters,
    exclusions
from job_run
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and job <> 'generate_weekly_report'
    and parameters ->> 'shard' is null
order by job, job_run_id desc
