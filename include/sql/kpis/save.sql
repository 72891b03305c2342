-- Writes the KPIs of every learner and week due; the columns of later jobs are left as they are.
merge into weekly_kpi
using (
    select
        %(tenant_id)s as tenant_id,
        kpi_learner.user_id,
        due.week_start,
        %(as_of)s::date as as_of,
        growth.value as i_t,
        growth.lower as i_t_lower,
        growth.upper as i_t_upper,
        coalesce(growth.n, 0) as i_t_n,
        case when growth.value is not null then growth.source end as i_t_source,
        case when growth.value is null
            then coalesce(growth.reason, 'fewer than 5 first attempts that count in the recent or the previous fortnight')
        end as i_t_reason,
        growth.raw as i_t_raw,
        growth.se as i_t_se,
        growth.pr_positive as i_t_pr_positive,
        growth.m as i_t_m,
        growth.tau as i_t_tau,
        coalesce(due.a_t, 0) as a_t,
        due.a_t_lower,
        due.a_t_upper,
        due.a_t_n,
        case
            when due.a_t is null then 'no session'
            when due.all_derived then 'derived sessions'
            when due.some_derived then 'recorded and derived sessions'
            else 'recorded sessions'
        end as a_t_source,
        null as a_t_reason,
        nullif(
            array_remove(
                array[
                    case when due.no_hints then 'hints_per_attempt' end,
                    case when due.no_seconds then 'median_session_seconds' end
                ],
                null
            ),
            '{}'
        ) as a_t_dropped,
        due.e_t,
        due.e_t_lower,
        due.e_t_upper,
        due.e_t_n,
        case when due.e_t is not null then 'response times' end as e_t_source,
        case
            when due.e_t is not null then null
            when not %(times_recorded)s then 'response times are not recorded'
            else 'fewer than 15 timed correct first attempts that count in the recent or the previous four weeks'
        end as e_t_reason,
        due.r_t,
        due.r_t_lower,
        due.r_t_upper,
        due.r_t_n,
        case when due.r_t is not null then 'answers' end as r_t_source,
        case when due.r_t is null then 'fewer than 5 items answered wrong and tried again in a later session' end as r_t_reason,
        due.week_start < date_trunc('week', %(as_of)s::date::timestamp)::date as reconstructed
    from kpi_learner_week as due
    join kpi_learner using (learner)
    left join kpi_growth as growth using (learner, week_start)
) as computed
on
    weekly_kpi.tenant_id = %(tenant_id)s
    and weekly_kpi.as_of = %(as_of)s
    and weekly_kpi.user_id = computed.user_id
    and weekly_kpi.week_start = computed.week_start
when matched then update set
    i_t = computed.i_t,
    i_t_lower = computed.i_t_lower,
    i_t_upper = computed.i_t_upper,
    i_t_n = computed.i_t_n,
    i_t_source = computed.i_t_source,
    i_t_reason = computed.i_t_reason,
    i_t_raw = computed.i_t_raw,
    i_t_se = computed.i_t_se,
    i_t_pr_positive = computed.i_t_pr_positive,
    i_t_m = computed.i_t_m,
    i_t_tau = computed.i_t_tau,
    a_t = computed.a_t,
    a_t_lower = computed.a_t_lower,
    a_t_upper = computed.a_t_upper,
    a_t_n = computed.a_t_n,
    a_t_source = computed.a_t_source,
    a_t_reason = computed.a_t_reason,
    a_t_dropped = computed.a_t_dropped,
    e_t = computed.e_t,
    e_t_lower = computed.e_t_lower,
    e_t_upper = computed.e_t_upper,
    e_t_n = computed.e_t_n,
    e_t_source = computed.e_t_source,
    e_t_reason = computed.e_t_reason,
    r_t = computed.r_t,
    r_t_lower = computed.r_t_lower,
    r_t_upper = computed.r_t_upper,
    r_t_n = computed.r_t_n,
    r_t_source = computed.r_t_source,
    r_t_reason = computed.r_t_reason
when not matched then insert (
    tenant_id,
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
    r_t_reason,
    reconstructed
)
values (
    computed.tenant_id,
    computed.user_id,
    computed.week_start,
    computed.as_of,
    computed.i_t,
    computed.i_t_lower,
    computed.i_t_upper,
    computed.i_t_n,
    computed.i_t_source,
    computed.i_t_reason,
    computed.i_t_raw,
    computed.i_t_se,
    computed.i_t_pr_positive,
    computed.i_t_m,
    computed.i_t_tau,
    computed.a_t,
    computed.a_t_lower,
    computed.a_t_upper,
    computed.a_t_n,
    computed.a_t_source,
    computed.a_t_reason,
    computed.a_t_dropped,
    computed.e_t,
    computed.e_t_lower,
    computed.e_t_upper,
    computed.e_t_n,
    computed.e_t_source,
    computed.e_t_reason,
    computed.r_t,
    computed.r_t_lower,
    computed.r_t_upper,
    computed.r_t_n,
    computed.r_t_source,
    computed.r_t_reason,
    computed.reconstructed
)
