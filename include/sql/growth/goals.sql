-- One row a learner with a goal.
select
    user_id,
    target_theta,
    target_date
from learner_goal
where tenant_id = %(tenant_id)s
