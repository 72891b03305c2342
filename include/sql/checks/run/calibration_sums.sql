-- check: calibration sums
-- expects: a calibration counts the items, answers and learners behind its new parameters and abilities
with items as (
    select
        fit.run_id,
        fit.n_items,
        fit.n_responses,
        fit.n_persons,
        count(item.item_id) filter (where item.status <> 'frozen') as new_items,
        coalesce(sum(item.n_responses) filter (where item.status <> 'frozen'), 0) as new_responses
    from mirt_fit_meta as fit
    join mirt_item_params as item using (tenant_id, run_id)
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s and fit.published
    group by fit.tenant_id, fit.run_id
),

abilities as (
    select count(*) as learners
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

select
    items.*,
    abilities.learners as learners_with_abilities
from items
cross join abilities
where
    items.new_items > items.n_items
    or items.new_responses > items.n_responses
    or items.n_persons > abilities.learners
