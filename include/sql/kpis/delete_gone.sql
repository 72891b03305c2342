-- Deletes this day's rows that an earlier try wrote and that are no longer due, where no later job has added to them.
delete from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and s is null
    and p is null
    and sigma is null
    and not exists (
        select
        from kpi_learner_week as due
        join kpi_learner using (learner)
        where kpi_learner.user_id = weekly_kpi.user_id and due.week_start = weekly_kpi.week_start
    )
