-- check: anomalies by their z
-- expects: z = (observed - expected) / sd, an anomaly where it reaches the fit's threshold; series are those forecast
select
    judged.series,
    judged.metric,
    judged.week_start,
    judged.z,
    (judged.observed - judged.expected) / judged.sd as z_expected,
    judged.anomaly,
    (fit.parameters ->> 'threshold')::float8 as threshold
from prophet_anomalies as judged
join prophet_fit_meta as fit using (tenant_id, run_id)
where
    judged.tenant_id = %(tenant_id)s
    and judged.as_of = %(as_of)s
    and (
        abs(judged.z - (judged.observed - judged.expected) / judged.sd) > 1e-6 * (1 + abs(judged.z))
        or judged.anomaly <> coalesce(abs(judged.z) >= (fit.parameters ->> 'threshold')::float8, false)
        or not exists (
            select
            from prophet_forecast as forecast
            where
                forecast.tenant_id = judged.tenant_id
                and forecast.as_of = judged.as_of
                and forecast.series = judged.series
                and forecast.metric = judged.metric
        )
    )
