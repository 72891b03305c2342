-- check: windows end at as_of
-- expects: a calibration of the day reads answers up to as_of, and that day's run publishes it
select
    run_id,
    window_start,
    window_end,
    published_at_as_of
from mirt_fit_meta
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and (window_end <> as_of or published_at_as_of <> as_of)
