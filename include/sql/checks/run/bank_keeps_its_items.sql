-- check: bank keeps its items
-- expects: the day's bank holds every item of the bank published before it, frozen ones with the same parameters
with today as (
    select item.*
    from mirt_fit_meta as fit
    join mirt_item_params as item using (tenant_id, run_id)
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s and fit.published
),

before as (
    select *
    from published_items(%(tenant_id)s, %(as_of)s::date - 1)
)

select
    before.item_id,
    before.a as a_before,
    today.a,
    before.b as b_before,
    today.b,
    before.c as c_before,
    today.c
from before
left join today using (item_id)
where
    exists (select from today)
    and (
        today.item_id is null
        or (today.status = 'frozen' and (today.a, today.b, today.c) is distinct from (before.a, before.b, before.c))
    )
