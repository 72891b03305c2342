-- check: report is registered
-- expects: where the report job succeeded for the day, the cohort's report is registered in HTML
select
    job_run_id,
    finished_at
from job_run
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and job = 'generate_weekly_report'
    and status = 'success'
    and not exists (
        select
        from report_artifacts
        where
            report_artifacts.tenant_id = %(tenant_id)s
            and report_artifacts.as_of = %(as_of)s
            and report_artifacts.scope = 'cohort'
            and report_artifacts.format = 'html'
    )
