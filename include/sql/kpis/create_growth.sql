-- One row a learner, week and source: growth between the two fortnights, null where the answers are too few
-- or, with the reason, say too little.
create temporary table kpi_growth (
    learner int not null,
    week_start date not null,
    source text not null,
    n int not null,
    reason text,
    value float8,
    lower float8,
    upper float8,
    raw float8,
    se float8,
    pr_positive float8,
    m float8,
    tau float8
) on commit drop
