-- One row a learner: the ability as it was known last before the calibration window.
with newest as (
    select max(as_of) as as_of
    from mirt_ability
    where
        tenant_id = %(tenant_id)s
        and as_of < %(window_start)s::date
)

select
    ability.user_id,
    ability.theta,
    ability.se,
    ability.as_of
from newest
join mirt_ability as ability
    on ability.tenant_id = %(tenant_id)s and ability.as_of = newest.as_of
