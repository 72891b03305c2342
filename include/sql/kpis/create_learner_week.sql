-- One row a learner and week to write: learners with an answer in the eight weeks that end with the week's last day, with
-- the KPIs that rest on the learner's answers alone. no_hints, no_seconds: the term of a_t that has no input.
create temporary table kpi_learner_week (
    learner int not null,
    week_start date not null,
    last_day date not null,
    a_t_n int not null,
    a_t float8,
    a_t_lower float8,
    a_t_upper float8,
    some_derived boolean not null,
    all_derived boolean not null,
    no_hints boolean not null,
    no_seconds boolean not null,
    e_t_n int not null,
    e_t float8,
    e_t_lower float8,
    e_t_upper float8,
    r_t_n int not null,
    r_t float8,
    r_t_lower float8,
    r_t_upper float8
) on commit drop
