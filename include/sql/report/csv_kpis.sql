-- The KPIs of the day, as a CSV file: one row a learner.
copy (
    select
        user_id,
        week_start,
        as_of,
        i_t,
        i_t_lower,
        i_t_upper,
        i_t_n,
        i_t_source,
        i_t_reason,
        i_t_raw,
        i_t_se,
        i_t_pr_positive,
        i_t_m,
        i_t_tau,
        a_t,
        a_t_lower,
        a_t_upper,
        a_t_n,
        a_t_source,
        a_t_reason,
        a_t_dropped,
        e_t,
        e_t_lower,
        e_t_upper,
        e_t_n,
        e_t_source,
        e_t_reason,
        r_t,
        r_t_lower,
        r_t_upper,
        r_t_n,
        r_t_source,
        r_t_reason
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of = %(as_of)s
        and week_start = date_trunc('week', %(as_of)s::date::timestamp)
    order by user_id collate "C"
) to stdout (format csv, header)
