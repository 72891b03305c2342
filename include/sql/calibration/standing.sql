-- One row: the calibration of a day that is published. None where there is none.
select
    run_id,
    reason
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s::date
    and published
