-- check: runs exist
-- expects: every run_id and job_run_id that the day's rows name is there, published or successful, a model's that day's
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

modelled as (
    select distinct 'user_segments' as table_name, run_id
    from user_segments
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'survival_risk', run_id
    from survival_risk
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'growth_learner', run_id
    from growth_learner
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'prophet_forecast', run_id
    from prophet_forecast
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
    union all
    select distinct 'prophet_anomalies', run_id
    from prophet_anomalies
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

models as (
    select 'user_segments' as table_name, run_id
    from segment_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
    union all
    select 'survival_risk', run_id
    from survival_fit_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
    union all
    select 'growth_learner', run_id
    from growth_brms_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
    union all
    select written.table_name, fit.run_id
    from prophet_fit_meta as fit
    cross join (values ('prophet_forecast'), ('prophet_anomalies')) as written (table_name)
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s and fit.status = 'success'
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
    modelled.table_name,
    modelled.run_id
from modelled
left join models using (table_name, run_id)
where models.run_id is null
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
