-- One row an item of the bank published by a day: the parameters that a calibration links to, which are those first
-- published as estimated (or since the item's last drift), and the calibration that they are of.
with bank as (
    select
        item_id,
        run_id as bank_run_id,
        reference_as_of
    from published_items(%(tenant_id)s, %(day)s::date)
),

final as (
    select
        bank.item_id,
        coalesce(reference.run_id, bank.bank_run_id) as run_id
    from bank
    left join mirt_fit_meta as fit
        on fit.tenant_id = %(tenant_id)s and fit.published and fit.as_of = bank.reference_as_of
    left join mirt_item_params as reference
        on
            reference.tenant_id = %(tenant_id)s
            and reference.run_id = fit.run_id
            and reference.item_id = bank.item_id
)

select
    final.item_id,
    item.a,
    item.b,
    item.c,
    item.se_a,
    item.se_b,
    item.se_c,
    item.cov_ab,
    item.cov_ac,
    item.cov_bc,
    item.n_responses,
    item.status,
    fit.as_of as run,
    fit.window_start,
    fit.latent_mean,
    fit.latent_sd,
    fit.se_method,
    fit.model_spec ->> 'scale_errors' as scale_errors
from final
join mirt_fit_meta as fit
    on fit.tenant_id = %(tenant_id)s and fit.run_id = final.run_id
join mirt_item_params as item
    on item.tenant_id = %(tenant_id)s and item.run_id = final.run_id and item.item_id = final.item_id
