-- One row for the day's forecast run, where there is one.
select
    status,
    reason,
    n_series,
    (parameters ->> 'threshold')::float8 as threshold
from prophet_fit_meta
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
