-- One row for the day's Bayesian growth, where there is one; sample.updated has the population given all learners.
select
    status,
    reason,
    weeks,
    n_learners_fit,
    n_learners_scored,
    population,
    sample,
    max_rhat,
    divergences,
    draws
from growth_brms_meta
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
