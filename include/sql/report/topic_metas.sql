-- One row for the day's mixed model of answers by topic, where there is one.
select
    status,
    reason,
    n_learners,
    n_answers,
    sampled,
    item_term,
    converged,
    singular,
    fixed,
    random,
    topics
from growth_glmm_meta
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
