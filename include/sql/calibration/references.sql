-- One row an item of the bank published by a day: the parameters that a calibration links to, which are those first
-- published as estimated (or since the item's last drift), and the calibration that they are of; how the item fits the
-- calibration published last, and the last day since `drifts_since` on which it was published as drifted.
with bank as (
    select
        item_id,
        topic_id,
        run_id as bank_run_id,
        reference_as_of
    from published_items(%(tenant_id)s, %(day)s::date)
),

drifts as (
    select
        item.item_id,
        max(fit.as_of) as drifted_on
    from mirt_fit_meta as fit
    join mirt_item_params as item
        on item.tenant_id = fit.tenant_id and item.run_id = fit.run_id and item.drifted
    where
        fit.tenant_id = %(tenant_id)s
        and fit.published
        and fit.as_of between %(drifts_since)s::date and %(day)s::date
    group by item.item_id
),

final as (
    select
        bank.item_id,
        bank.topic_id,
        bank.bank_run_id,
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
    final.topic_id,
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
    fit.model_spec ->> 'scale_errors' as scale_errors,
    item_fit.p_adjusted as fit_p,
    item_fit.rmsd,
    drifts.drifted_on
from final
join mirt_fit_meta as fit
    on fit.tenant_id = %(tenant_id)s and fit.run_id = final.run_id
join mirt_item_params as item
    on item.tenant_id = %(tenant_id)s and item.run_id = final.run_id and item.item_id = final.item_id
left join mirt_item_fit as item_fit
    on
        item_fit.tenant_id = %(tenant_id)s
        and item_fit.run_id = final.bank_run_id
        and item_fit.item_id = final.item_id
left join drifts on drifts.item_id = final.item_id
