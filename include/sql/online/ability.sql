-- One row: the ability that a calibration left of a learner. None where there is none.
select
    as_of,
    theta,
    se,
    n_responses
from mirt_ability
where
    tenant_id = %(tenant_id)s
    and user_id = %(student_id)s
    and run_id = %(run_id)s
    and as_of <= %(as_of)s::date
order by as_of desc
limit 1
