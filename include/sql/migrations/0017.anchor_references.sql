-- depends: 0016.forecast
-- What a link to the first published values of an item needs: since when they stand, and how their errors hang together.
alter table mirt_item_params
    add column cov_ab float8,
    add column cov_ac float8,
    add column cov_bc float8,
    add column reference_as_of date,
    add constraint mirt_item_params_covariances check (
        cov_ab between '-1e300' and '1e300' and cov_ac between '-1e300' and '1e300'
        and cov_bc between '-1e300' and '1e300'
    );

comment on column mirt_item_params.cov_ab is 'Covariance of the errors of a and b; null where one of them was fixed.';
comment on column mirt_item_params.cov_ac is 'Covariance of the errors of a and c; null where one of them was fixed.';
comment on column mirt_item_params.cov_bc is 'Covariance of the errors of b and c; null where one of them was fixed.';
comment on column mirt_item_params.reference_as_of is 'Day whose published parameters of this item are those that later calibrations link to: the first as estimated, or that of its last drift.';

-- Of what is published already: the first day on which the item was estimated, else the first on which it was published.
with published as (
    select
        item.tenant_id,
        item.run_id,
        item.item_id,
        min(fit.as_of) over so_far as first_day,
        min(fit.as_of) filter (where item.status = 'estimated') over so_far as first_estimated
    from mirt_fit_meta as fit
    join mirt_item_params as item using (tenant_id, run_id)
    where fit.published
    window so_far as (partition by item.tenant_id, item.item_id order by fit.as_of)
)

update mirt_item_params as item
set reference_as_of = coalesce(published.first_estimated, published.first_day)
from published
where
    item.tenant_id = published.tenant_id
    and item.run_id = published.run_id
    and item.item_id = published.item_id;

drop function published_items(text, date);

-- The item bank that a run for `day` reads: the newest one published by a run for that day or before.
create function published_items(tenant text, day date)
returns table (
    tenant_id text,
    run_id text,
    item_id text,
    topic_id text,
    a float8,
    b float8,
    c float8,
    se_a float8,
    se_b float8,
    se_c float8,
    n_responses int,
    p_value float8,
    infit float8,
    outfit float8,
    median_time_ms float8,
    anchor boolean,
    drift_statistic float8,
    drift_p_value float8,
    drifted boolean,
    status text,
    first_published_as_of date,
    cov_ab float8,
    cov_ac float8,
    cov_bc float8,
    reference_as_of date,
    as_of date,
    model text,
    latent_mean float8,
    latent_sd float8
)
language sql stable
as $function$
with newest as (
    select
        fit.tenant_id,
        fit.run_id,
        fit.as_of,
        fit.model,
        fit.latent_mean,
        fit.latent_sd
    from mirt_fit_meta as fit
    where
        fit.tenant_id = published_items.tenant
        and fit.published
        and fit.published_at_as_of <= published_items.day
    order by fit.published_at_as_of desc, fit.as_of desc
    limit 1
)

select
    item.tenant_id,
    item.run_id,
    item.item_id,
    item.topic_id,
    item.a,
    item.b,
    item.c,
    item.se_a,
    item.se_b,
    item.se_c,
    item.n_responses,
    item.p_value,
    item.infit,
    item.outfit,
    item.median_time_ms,
    item.anchor,
    item.drift_statistic,
    item.drift_p_value,
    item.drifted,
    item.status,
    item.first_published_as_of,
    item.cov_ab,
    item.cov_ac,
    item.cov_bc,
    item.reference_as_of,
    newest.as_of,
    newest.model,
    newest.latent_mean,
    newest.latent_sd
from newest
join mirt_item_params as item
    on item.tenant_id = newest.tenant_id and item.run_id = newest.run_id
$function$;

comment on function published_items(text, date) is 'The item bank a run for that day reads: items of the newest calibration published by then, with its as_of, model and latent distribution.';
comment on column mirt_fit_meta.model_spec is 'linking_constants {A, B, se_A, se_B, method, n_anchors_used, dropped}, errors that its items share (scale_errors), quadrature, reference_run_id.';
