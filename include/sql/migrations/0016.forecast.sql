-- depends: 0015.glmm
-- Forecasts of weekly cohort series, and the mean that such a week is.

create function random_effects_mean(y float8[], v float8[], out k bigint, out mean float8, out se float8, out tau2 float8)
language sql
immutable
parallel safe
as $function$
    with effect as (
        select
            given.y,
            given.v,
            1 / given.v as w
        from unnest(y, v) as given(y, v)
    ),

    fixed as (
        select
            count(*) as k,
            sum(w) as sum_w,
            sum(w * w) as sum_w2,
            sum(w * effect.y) / sum(w) as mean
        from effect
    ),

    spread as (
        select
            case
                when fixed.k > 1
                    then greatest(
                        0,
                        (sum(effect.w * (effect.y - fixed.mean) ^ 2) - (fixed.k - 1))
                        / (fixed.sum_w - fixed.sum_w2 / fixed.sum_w)
                    )
                else 0
            end as tau2
        from fixed
        cross join effect
        group by fixed.k, fixed.mean, fixed.sum_w, fixed.sum_w2
    )

    select
        count(*),
        sum(effect.y / (effect.v + spread.tau2)) / sum(1 / (effect.v + spread.tau2)),
        1 / sqrt(sum(1 / (effect.v + spread.tau2))),
        spread.tau2
    from spread
    cross join effect
    group by spread.tau2
$function$;

comment on function random_effects_mean is
'Mean of effects y with known error variances v, its standard error and the variance tau2 between effects, by DerSimonian and Laird (1986), eq. 8 and 9. For the same bits every time pass both arrays in the same order.';

create table prophet_fit_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    status text not null,
    reason text,
    n_series int not null,
    series jsonb not null default '[]',
    engine_versions jsonb,
    warnings jsonb not null default '[]',
    parameters jsonb not null default '{}',
    primary key (tenant_id, run_id),
    unique (tenant_id, as_of),
    constraint prophet_fit_meta_status check (status in ('success', 'skipped')),
    constraint prophet_fit_meta_reason check ((status = 'skipped') = (reason is not null)),
    constraint prophet_fit_meta_n_series check (n_series >= 0),
    constraint prophet_fit_meta_success check (
        status <> 'success' or (n_series > 0 and engine_versions is not null)
    )
);

comment on table prophet_fit_meta is 'One row a day''s forecast of the weekly series.';
comment on column prophet_fit_meta.tenant_id is 'Whose series were forecast.';
comment on column prophet_fit_meta.run_id is 'Hash of tenant, as_of, parameters and the series.';
comment on column prophet_fit_meta.as_of is 'Last complete UTC day the forecast looked at.';
comment on column prophet_fit_meta.status is 'success, or skipped where no series is long enough.';
comment on column prophet_fit_meta.reason is 'Why it was skipped.';
comment on column prophet_fit_meta.n_series is 'Series forecast.';
comment on column prophet_fit_meta.series is
'An object a series: name, metric, weeks, and of a forecast one its origins, error scale, interval factor, coverage and errors over them; else why it has none.';
comment on column prophet_fit_meta.engine_versions is 'Versions of R and Prophet; null where none was asked.';
comment on column prophet_fit_meta.warnings is 'What the service warned of.';
comment on column prophet_fit_meta.parameters is 'Parameters of the run, by name.';

create table prophet_forecast (
    tenant_id text not null default 'default',
    series text not null,
    metric text not null,
    week_start date not null,
    as_of date not null,
    run_id text not null,
    horizon int not null,
    forecast float8 not null,
    lower float8 not null,
    upper float8 not null,
    level float8 not null,
    primary key (tenant_id, series, metric, week_start, as_of),
    constraint prophet_forecast_run foreign key (tenant_id, run_id)
    references prophet_fit_meta (tenant_id, run_id) on delete cascade,
    constraint prophet_forecast_metric check (metric in ('theta', 'i_t')),
    constraint prophet_forecast_week check (extract(isodow from week_start) = 1 and week_start > as_of - 7),
    constraint prophet_forecast_horizon check (horizon between 1 and 4),
    constraint prophet_forecast_interval check (lower <= forecast and forecast <= upper),
    constraint prophet_forecast_level check (level > 0 and level < 1)
);

create index prophet_forecast_by_day on prophet_forecast (tenant_id, as_of);

comment on table prophet_forecast is 'One row a series and week to come.';
comment on column prophet_forecast.tenant_id is 'Whose series it is.';
comment on column prophet_forecast.series is 'cohort, or the segment''s label.';
comment on column prophet_forecast.metric is 'theta: mean ability in the week''s own answers; i_t: mean I_t.';
comment on column prophet_forecast.week_start is 'Monday of the week forecast.';
comment on column prophet_forecast.as_of is 'Last complete UTC day the forecast looked at.';
comment on column prophet_forecast.run_id is 'Forecast run.';
comment on column prophet_forecast.horizon is 'Weeks after the last complete one, from 1.';
comment on column prophet_forecast.forecast is 'Expected value.';
comment on column prophet_forecast.lower is 'Lower end of its prediction interval.';
comment on column prophet_forecast.upper is 'Upper end of its prediction interval.';
comment on column prophet_forecast.level is 'Share of weeks that such intervals hold.';

create table prophet_anomalies (
    tenant_id text not null default 'default',
    series text not null,
    metric text not null,
    week_start date not null,
    as_of date not null,
    run_id text not null,
    observed float8 not null,
    expected float8,
    sd float8,
    z float8,
    anomaly boolean not null,
    n_learners int not null,
    primary key (tenant_id, series, metric, week_start, as_of),
    constraint prophet_anomalies_run foreign key (tenant_id, run_id)
    references prophet_fit_meta (tenant_id, run_id) on delete cascade,
    constraint prophet_anomalies_metric check (metric in ('theta', 'i_t')),
    constraint prophet_anomalies_week check (extract(isodow from week_start) = 1 and week_start + 6 <= as_of),
    constraint prophet_anomalies_judged check (
        (expected is null) = (z is null) and (sd is null) = (z is null) and (z is not null or not anomaly)
    ),
    constraint prophet_anomalies_sd check (sd > 0),
    constraint prophet_anomalies_n_learners check (n_learners > 0)
);

create index prophet_anomalies_by_day on prophet_anomalies (tenant_id, as_of);

comment on table prophet_anomalies is 'One row a series and week of the history read.';
comment on column prophet_anomalies.tenant_id is 'Whose series it is.';
comment on column prophet_anomalies.series is 'cohort, or the segment''s label.';
comment on column prophet_anomalies.metric is 'theta: mean ability in the week''s own answers; i_t: mean I_t.';
comment on column prophet_anomalies.week_start is 'Monday of the week.';
comment on column prophet_anomalies.as_of is 'Last complete UTC day the forecast looked at.';
comment on column prophet_anomalies.run_id is 'Forecast run.';
comment on column prophet_anomalies.observed is 'The week''s value.';
comment on column prophet_anomalies.expected is 'Its forecast from the weeks before; null where these are too few.';
comment on column prophet_anomalies.sd is 'Predictive standard deviation of that forecast.';
comment on column prophet_anomalies.z is '(observed - expected) / sd.';
comment on column prophet_anomalies.anomaly is 'Whether z lies beyond the threshold.';
comment on column prophet_anomalies.n_learners is 'Learners behind the week''s value.';
