-- check: jobs ended well
-- expects: the day was run, and the last run of each of its jobs ended as success or as a recorded skip
with last_runs as (
    select distinct on (job)
        job,
        status,
        coalesce(error, '') as error
    from job_run
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and parameters ->> 'shard' is null
    order by job, job_run_id desc
)

select
    job,
    status,
    error
from last_runs
where status not in ('success', 'skipped')
union all
select
    'any' as job,
    'never run' as status,
    '' as error
where not exists (select from last_runs)
