-- depends: 0004.features
-- The learner KPIs of a week. s, p and sigma belong to jobs that run after compute_daily_kpis and fill them in place.
create table weekly_kpi (
    tenant_id text not null default 'default',
    user_id text not null,
    week_start date not null,
    as_of date not null,
    i_t float8,
    i_t_lower float8,
    i_t_upper float8,
    i_t_n int not null default 0,
    i_t_source text,
    i_t_reason text,
    i_t_raw float8,
    i_t_se float8,
    i_t_pr_positive float8,
    i_t_m float8,
    i_t_tau float8,
    a_t float8,
    a_t_lower float8,
    a_t_upper float8,
    a_t_n int not null default 0,
    a_t_source text,
    a_t_reason text,
    a_t_dropped text[],
    e_t float8,
    e_t_lower float8,
    e_t_upper float8,
    e_t_n int not null default 0,
    e_t_source text,
    e_t_reason text,
    r_t float8,
    r_t_lower float8,
    r_t_upper float8,
    r_t_n int not null default 0,
    r_t_source text,
    r_t_reason text,
    s float8,
    s_lower float8,
    s_upper float8,
    p float8,
    sigma float8,
    reconstructed boolean not null,
    primary key (tenant_id, user_id, week_start, as_of),
    constraint weekly_kpi_monday check (extract(isodow from week_start) = 1),
    constraint weekly_kpi_reconstructed check (
        week_start <= as_of and reconstructed = (week_start < date_trunc('week', as_of::timestamp)::date)
    ),
    constraint weekly_kpi_i_t check (i_t between -1 and 1 and i_t_lower <= i_t_upper and i_t_n >= 0),
    constraint weekly_kpi_i_t_reason check ((i_t is null) = (i_t_reason is not null)),
    constraint weekly_kpi_i_t_source check (i_t is null or i_t_source is not null),
    constraint weekly_kpi_a_t check (a_t between 0 and 1 and a_t_lower <= a_t_upper and a_t_n >= 0),
    constraint weekly_kpi_a_t_reason check ((a_t is null) = (a_t_reason is not null)),
    constraint weekly_kpi_a_t_source check (a_t is null or a_t_source is not null),
    constraint weekly_kpi_e_t check (e_t between -1 and 1 and e_t_lower <= e_t_upper and e_t_n >= 0),
    constraint weekly_kpi_e_t_reason check ((e_t is null) = (e_t_reason is not null)),
    constraint weekly_kpi_e_t_source check (e_t is null or e_t_source is not null),
    constraint weekly_kpi_r_t check (r_t between 0 and 1 and r_t_lower <= r_t_upper and r_t_n >= 0),
    constraint weekly_kpi_r_t_reason check ((r_t is null) = (r_t_reason is not null)),
    constraint weekly_kpi_r_t_source check (r_t is null or r_t_source is not null),
    constraint weekly_kpi_i_t_growth check (
        i_t_raw between -100 and 100 and i_t_se > 0 and i_t_se < 100 and i_t_pr_positive between 0 and 1
        and i_t_m between -100 and 100 and i_t_tau >= 0 and i_t_tau < 100
    ),
    constraint weekly_kpi_s check (
        s between 0 and 1 and s_lower between 0 and 1 and s_upper between 0 and 1 and s_lower <= s and s <= s_upper
    ),
    constraint weekly_kpi_p check (p between 0 and 1),
    constraint weekly_kpi_sigma check (sigma >= 0 and sigma < 100)
) partition by range (as_of);

create index weekly_kpi_by_day on weekly_kpi (tenant_id, as_of);

comment on table weekly_kpi is 'One row a learner, week and run, for learners with an answer in the eight weeks before.';
comment on column weekly_kpi.tenant_id is 'Whose learner it is.';
comment on column weekly_kpi.user_id is 'Learner.';
comment on column weekly_kpi.week_start is 'Monday of the week.';
comment on column weekly_kpi.as_of is 'as_of of the run that wrote the row.';
comment on column weekly_kpi.i_t is 'I_t, growth in theta from the previous to the recent fortnight, in [-1, 1]; null with a reason.';
comment on column weekly_kpi.i_t_lower is 'Lower end of the 95 % interval of I_t; null where it has none.';
comment on column weekly_kpi.i_t_upper is 'Upper end of the 95 % interval of I_t; null where it has none.';
comment on column weekly_kpi.i_t_n is 'Answers behind I_t, both windows together.';
comment on column weekly_kpi.i_t_source is 'Method that made I_t.';
comment on column weekly_kpi.i_t_reason is 'Why I_t is null.';
comment on column weekly_kpi.i_t_raw is 'Difference of the two windows'' estimates of theta before shrinkage.';
comment on column weekly_kpi.i_t_se is 'Standard error of that difference.';
comment on column weekly_kpi.i_t_pr_positive is 'Posterior probability that growth is above zero.';
comment on column weekly_kpi.i_t_m is 'Mean growth of the cohort that day.';
comment on column weekly_kpi.i_t_tau is 'Standard deviation of growth over the cohort that day.';
comment on column weekly_kpi.a_t is 'A_t, activity over the last four weeks, in [0, 1]; null with a reason.';
comment on column weekly_kpi.a_t_lower is 'Lower end of the 95 % interval of A_t; null where it has none.';
comment on column weekly_kpi.a_t_upper is 'Upper end of the 95 % interval of A_t; null where it has none.';
comment on column weekly_kpi.a_t_n is 'Sessions behind A_t.';
comment on column weekly_kpi.a_t_source is 'Method that made A_t.';
comment on column weekly_kpi.a_t_reason is 'Why A_t is null.';
comment on column weekly_kpi.a_t_dropped is 'Terms of A_t left out because their input is not recorded.';
comment on column weekly_kpi.e_t is 'E_t, gain in speed at equal correctness between the two four-week windows, in [-1, 1]; null with a reason.';
comment on column weekly_kpi.e_t_lower is 'Lower end of the 95 % interval of E_t; null where it has none.';
comment on column weekly_kpi.e_t_upper is 'Upper end of the 95 % interval of E_t; null where it has none.';
comment on column weekly_kpi.e_t_n is 'Response times behind E_t, both windows together.';
comment on column weekly_kpi.e_t_source is 'Method that made E_t.';
comment on column weekly_kpi.e_t_reason is 'Why E_t is null.';
comment on column weekly_kpi.r_t is 'R_t, share of items answered wrong that were later answered right in another session, in [0, 1]; null with a reason.';
comment on column weekly_kpi.r_t_lower is 'Lower end of the 95 % interval of R_t; null where it has none.';
comment on column weekly_kpi.r_t_upper is 'Upper end of the 95 % interval of R_t; null where it has none.';
comment on column weekly_kpi.r_t_n is 'Items answered wrong and tried again behind R_t.';
comment on column weekly_kpi.r_t_source is 'Method that made R_t.';
comment on column weekly_kpi.r_t_reason is 'Why R_t is null.';
comment on column weekly_kpi.s is 'Probability of no activity in the 14 days after as_of.';
comment on column weekly_kpi.s_lower is 'Lower end of the 95 % interval of s.';
comment on column weekly_kpi.s_upper is 'Upper end of the 95 % interval of s.';
comment on column weekly_kpi.p is 'Probability of reaching the goal, without a goal of growing.';
comment on column weekly_kpi.sigma is 'Posterior standard deviation of theta at the target date, without a goal of the slope.';
comment on column weekly_kpi.reconstructed is 'Whether the row was made after its week had ended, from answers up to the week''s end.';
