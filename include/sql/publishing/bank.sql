-- One row an item of a calibration.
select
    item_id,
    a,
    b,
    c,
    se_a,
    se_b,
    n_responses,
    status,
    drift_p_value
from mirt_item_params
where
    tenant_id = %(tenant_id)s
    and run_id = %(run_id)s
order by item_id collate "C"
