-- check: abilities rest on answers
-- expects: a learner's ability rests on no more answers than first attempts in the calibration's window
with fit as (
    select
        window_start,
        window_end
    from mirt_fit_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and published
),

answered as (
    select
        attempt.student_id as user_id,
        count(*) as first_attempts
    from fit
    cross join lateral first_attempts(%(tenant_id)s, fit.window_start, fit.window_end) as attempt
    group by attempt.student_id
)

select
    ability.user_id,
    ability.n_responses,
    coalesce(answered.first_attempts, 0) as first_attempts
from mirt_ability as ability
left join answered using (user_id)
where
    ability.tenant_id = %(tenant_id)s
    and ability.as_of = %(as_of)s
    and ability.n_responses > coalesce(answered.first_attempts, 0)
