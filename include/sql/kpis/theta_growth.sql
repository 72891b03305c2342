-- One row a learner and week: growth in theta as measured.
select
    learner,
    week,
    n,
    raw,
    se,
    useless
from kpi_theta_growth
