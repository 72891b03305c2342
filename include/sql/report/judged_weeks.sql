-- One row a series, metric and past week, of the day's forecast.
select
    series,
    metric,
    week_start,
    observed,
    expected,
    sd,
    z,
    anomaly,
    n_learners
from prophet_anomalies
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
order by series, metric, week_start
