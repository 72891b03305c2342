-- One row where the calibration in force on the day was tested: how much departs from its model.
select
    meta.n_items_tested,
    meta.n_items_misfitting,
    meta.n_pairs,
    meta.n_pairs_dependent,
    meta.n_learners_tested,
    meta.n_learners_misfitting,
    meta.late_from,
    meta.n_items_compared,
    meta.n_items_shifted,
    meta.shift_reason
from mirt_fit_meta as fit
join mirt_quality_meta as meta using (tenant_id, run_id)
where
    fit.tenant_id = %(tenant_id)s
    and fit.run_id = (select run_id from published_items(%(tenant_id)s, %(as_of)s) limit 1)
