-- One row a learner with an ability on the newest day, up to as_of, that has any.
with newest as (
    select max(as_of) as as_of
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of <= %(as_of)s
)

select
    ability.user_id,
    ability.theta,
    ability.se,
    ability.as_of
from newest
join mirt_ability as ability on ability.as_of = newest.as_of
where ability.tenant_id = %(tenant_id)s
order by ability.user_id collate "C"
