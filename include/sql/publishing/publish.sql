-- Makes a calibration the published one of its day.
update mirt_fit_meta
set
    published = true,
    published_at_as_of = as_of,
    reason = %(reason)s
where
    tenant_id = %(tenant_id)s
    and run_id = %(run_id)s
