-- Makes a calibration one that nobody reads.
update mirt_fit_meta
set
    published = false,
    published_at_as_of = null,
    reason = %(reason)s
where
    tenant_id = %(tenant_id)s
    and run_id = %(run_id)s
