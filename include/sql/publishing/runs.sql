-- One row a calibration of the tenant, the newest day first, with the number of items that are kept of it.
select
    fit.run_id,
    fit.as_of,
    fit.window_start,
    fit.model,
    fit.engine,
    fit.n_persons,
    fit.n_responses,
    fit.converged,
    fit.iterations,
    fit.log_likelihood,
    fit.latent_mean,
    fit.latent_sd,
    fit.parameters,
    fit.model_spec -> 'linking_constants' as linking_constants,
    fit.model_spec ->> 'reference_run_id' as reference_run_id,
    fit.published,
    fit.reason,
    (
        select count(*)
        from mirt_item_params as item
        where item.tenant_id = fit.tenant_id and item.run_id = fit.run_id
    ) as n_bank
from mirt_fit_meta as fit
where fit.tenant_id = %(tenant_id)s
order by fit.as_of desc, fit.published desc, fit.created_at desc
