-- One row: the calibration published by a day, with what abilities under it rest on. None where there is none.
select
    run_id,
    as_of,
    window_start,
    model,
    latent_mean,
    latent_sd,
    log_likelihood,
    n_responses,
    parameters ->> 'invalid_answers' as invalid_answers
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and published
    and published_at_as_of <= %(day)s::date
order by published_at_as_of desc, as_of desc
limit 1
