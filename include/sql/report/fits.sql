-- One row a role: the calibration in force on the day, the one in force a week before, and the day's own one where it
-- was not published.
with fit as (
    select *
    from mirt_fit_meta
    where tenant_id = %(tenant_id)s
),

published as (
    select
        'current' as role,
        fit.*
    from fit
    where published and published_at_as_of <= %(as_of)s
    order by published_at_as_of desc, as_of desc
    limit 1
),

published_before as (
    select
        'before' as role,
        fit.*
    from fit
    where published and published_at_as_of <= %(as_of)s::date - 7
    order by published_at_as_of desc, as_of desc
    limit 1
),

refused as (
    select
        'refused' as role,
        fit.*
    from fit
    where not published and as_of = %(as_of)s
    order by run_id
    limit 1
),

final as (
    select * from published
    union all
    select * from published_before
    union all
    select * from refused
)

select
    role,
    run_id,
    as_of,
    window_start,
    window_end,
    window_extended,
    window_reason,
    model,
    engine,
    engine_version,
    data_fingerprint,
    n_persons,
    n_items,
    n_responses,
    converged,
    iterations,
    log_likelihood,
    aic,
    bic,
    latent_mean,
    latent_sd,
    se_method,
    priors,
    exclusions,
    model_spec -> 'linking_constants' as linking_constants,
    reason
from final
