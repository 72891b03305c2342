-- One row a learner of the day whose goal is less likely than not to be reached, the nearest to even first.
select
    user_id,
    p,
    theta_now,
    theta_now_lower,
    theta_now_upper,
    target_theta,
    target_date
from growth_learner
where tenant_id = %(tenant_id)s and as_of = %(as_of)s and p_kind = 'goal' and p < 0.5
order by p desc, user_id
