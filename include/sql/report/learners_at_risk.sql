-- One row a learner of the day who is flagged as at risk of staying away, the greatest risk first.
select
    user_id,
    risk,
    risk_lower,
    risk_upper,
    last_active,
    n_answers
from survival_risk
where tenant_id = %(tenant_id)s and as_of = %(as_of)s and at_risk
order by risk desc, user_id
