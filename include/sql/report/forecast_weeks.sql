-- One row a series, metric and week to come, of the day's forecast.
select
    series,
    metric,
    week_start,
    forecast,
    lower,
    upper,
    level
from prophet_forecast
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
order by series, metric, week_start
