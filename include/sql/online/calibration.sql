-- One row: the calibration published by a day, with what an ability under it rests on. None where there is none.
select
    run_id,
    as_of,
    model,
    window_start,
    latent_mean,
    latent_sd,
    parameters ->> 'invalid_answers' as invalid_answers
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and published
    and published_at_as_of <= %(as_of)s::date
order by published_at_as_of desc, as_of desc
limit 1
