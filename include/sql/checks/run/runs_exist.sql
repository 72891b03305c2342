-- check: runs exist
-- expects: every run_id and job_run_id that the day's rows name is there, published or successful
with used as (
    select distinct 'mirt_ability' as table_name, run_id
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'student_week_theta', run_id
    from student_week_theta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'student_topic_theta', run_id
    from student_topic_theta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

clustered as (
    select distinct run_id
    from user_segments
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

reported as (
    select distinct job_run_id
    from report_artifacts
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

select
    used.table_name,
    used.run_id
from used
left join mirt_fit_meta as fit
    on
        fit.tenant_id = %(tenant_id)s
        and fit.run_id = used.run_id
        and fit.published_at_as_of <= %(as_of)s::date
where fit.run_id is null
union all
select
    'user_segments',
    clustered.run_id
from clustered
left join segment_meta as clustering
    on
        clustering.tenant_id = %(tenant_id)s
        and clustering.run_id = clustered.run_id
        and clustering.as_of = %(as_of)s
        and clustering.status = 'success'
where clustering.run_id is null
union all
select
    'report_artifacts',
    coalesce(reported.job_run_id::text, 'null')
from reported
left join job_run
    on
        job_run.job_run_id = reported.job_run_id
        and job_run.tenant_id = %(tenant_id)s
        and job_run.as_of = %(as_of)s
        and job_run.job = 'generate_weekly_report'
where job_run.job_run_id is null
