-- One row a learner with an answer in the 28 days up to as_of: the covariates that the risk is asked for.
select
    kpi_learner.user_id,
    survival_row.sessions,
    survival_row.mean_gap,
    survival_row.days_since_last,
    survival_row.answers,
    survival_row.r_t
from survival_row
join kpi_learner on kpi_learner.learner = survival_row.learner
where survival_row.landmark = %(as_of)s::date
order by kpi_learner.user_id collate "C"
