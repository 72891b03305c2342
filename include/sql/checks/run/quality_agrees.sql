-- check: quality of items
-- expects: what is counted of a calibration's quality is what its rows say, and an interval's shares count every learner once
with counted as (
    select
        fit.run_id,
        count(item.item_id) filter (where item.p is not null) as n_items_tested,
        count(item.item_id) filter (where item.p_adjusted < 0.05) as n_items_misfitting,
        count(item.item_id) filter (where item.shifted) as n_items_shifted,
        (
            select count(*)
            from mirt_item_pair as pair
            where pair.tenant_id = fit.tenant_id and pair.run_id = fit.run_id
        ) as n_pairs_dependent,
        count(item.item_id) filter (
            where abs(
                (select sum((point ->> 'n')::float8) from jsonb_array_elements(item.curve) as point) - item.n_responses
            ) > 0.01 + 0.0001 * item.n_responses
        ) as n_curves_off
    from mirt_fit_meta as fit
    left join mirt_item_fit as item using (tenant_id, run_id)
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s and fit.published
    group by fit.tenant_id, fit.run_id
)

select
    counted.*,
    meta.n_items_tested as said_tested,
    meta.n_items_misfitting as said_misfitting,
    meta.n_items_shifted as said_shifted,
    meta.n_pairs_dependent as said_dependent
from counted
join mirt_quality_meta as meta on meta.tenant_id = %(tenant_id)s and meta.run_id = counted.run_id
where
    (counted.n_items_tested, counted.n_items_misfitting, counted.n_items_shifted, counted.n_pairs_dependent)
    is distinct from
    (meta.n_items_tested, meta.n_items_misfitting, meta.n_items_shifted, meta.n_pairs_dependent)
    or counted.n_curves_off > 0
