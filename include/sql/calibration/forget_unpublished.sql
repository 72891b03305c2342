-- Deletes the day's calibrations that were not published, and with them their items.
delete from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and not published
