-- One row a learner and week, learners in the order of their numbers: growth in theta as measured.
select
    learner,
    week,
    n,
    raw,
    se,
    useless
from kpi_theta_growth
order by learner
