-- check: forecasts follow the weeks
-- expects: of each series that the fit counts, forecasts of weeks 1 to 4 after the last complete one
with fit as (
    select
        run_id,
        n_series
    from prophet_fit_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
),

due as (
    select
        horizon,
        date_trunc('week', (%(as_of)s::date + 1)::timestamp)::date - 7 + 7 * horizon as week_start
    from generate_series(1, 4) as horizon
),

forecasts as (
    select
        series,
        metric,
        week_start,
        horizon,
        run_id
    from prophet_forecast
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

series as (
    select
        series,
        metric
    from forecasts
    group by series, metric
)

select
    coalesce(forecasts.series, due_series.series) as series,
    coalesce(forecasts.metric, due_series.metric) as metric,
    due_series.week_start as week_due,
    forecasts.week_start as week_found,
    coalesce(forecasts.horizon, due_series.horizon) as horizon
from (select * from series cross join due) as due_series
full join forecasts
    on
        forecasts.series = due_series.series
        and forecasts.metric = due_series.metric
        and forecasts.horizon = due_series.horizon
where forecasts.week_start is distinct from due_series.week_start
union all
select
    fit.n_series || ' series, not ' || (select count(*) from series),
    null,
    null,
    null,
    null
from fit
where fit.n_series <> (select count(*) from series)
