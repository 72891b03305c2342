-- One row a learner and week (its place among those to write): growth in theta as measured, before the cohort's is known.
create temporary table kpi_theta_growth (
    learner int not null,
    week int not null,
    n int not null,
    raw float8,
    se float8,
    useless boolean not null
) on commit drop
