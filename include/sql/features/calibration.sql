-- One row: the calibration published by a day, with the first day it read and the latent distribution it left.
select
    run_id,
    window_start,
    latent_mean,
    latent_sd
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and published
    and published_at_as_of <= %(as_of)s
order by published_at_as_of desc, as_of desc
limit 1
