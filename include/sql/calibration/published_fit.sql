-- One row: the calibration published by a day. None where there is none.
select
    model,
    latent_mean,
    latent_sd,
    log_likelihood,
    n_responses
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and published
    and published_at_as_of <= %(day)s::date
order by published_at_as_of desc, as_of desc
limit 1
