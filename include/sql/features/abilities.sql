-- One row a learner of the day's calibration: the ability that daily features fall back on.
select
    user_id,
    theta,
    se
from mirt_ability
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
