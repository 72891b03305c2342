-- Deletes the abilities that a calibration left.
delete from mirt_ability
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and run_id = %(run_id)s
