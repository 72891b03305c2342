-- One row a learner: the ability that the calibration of a day left.
select
    user_id as student_id,
    theta,
    se
from mirt_ability
where
    tenant_id = %(tenant_id)s
    and as_of = %(day)s::date
