-- One row: the last successful clustering before the day.
select
    run_id,
    features,
    centroids,
    labels
from segment_meta
where
    tenant_id = %(tenant_id)s
    and as_of < %(as_of)s
    and status = 'success'
order by as_of desc
limit 1
