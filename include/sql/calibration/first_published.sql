-- One row: the first day for which the tenant published a calibration; null where none is published.
select min(published_at_as_of) as day
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and published
