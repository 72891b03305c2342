-- Blanks the KPIs of this day's rows that are no longer due but hold what a later job wrote.
update weekly_kpi
set
    i_t = null,
    i_t_lower = null,
    i_t_upper = null,
    i_t_n = 0,
    i_t_source = null,
    i_t_reason = 'no answer in the eight weeks before',
    i_t_raw = null,
    i_t_se = null,
    i_t_pr_positive = null,
    i_t_m = null,
    i_t_tau = null,
    a_t = null,
    a_t_lower = null,
    a_t_upper = null,
    a_t_n = 0,
    a_t_source = null,
    a_t_reason = 'no answer in the eight weeks before',
    a_t_dropped = null,
    e_t = null,
    e_t_lower = null,
    e_t_upper = null,
    e_t_n = 0,
    e_t_source = null,
    e_t_reason = 'no answer in the eight weeks before',
    r_t = null,
    r_t_lower = null,
    r_t_upper = null,
    r_t_n = 0,
    r_t_source = null,
    r_t_reason = 'no answer in the eight weeks before'
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and not exists (
        select
        from kpi_learner_week as due
        join kpi_learner using (learner)
        where kpi_learner.user_id = weekly_kpi.user_id and due.week_start = weekly_kpi.week_start
    )
