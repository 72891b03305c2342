-- check: risks of the active
-- expects: a fitted churn model gives a risk to each learner with an answer in the 28 days up to as_of, to nobody else
with fit as (
    select exists (
        select
        from survival_fit_meta
        where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
    ) as fitted
),

risks as (
    select
        user_id,
        n_answers,
        last_active
    from survival_risk
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

active as (
    select
        student_id as user_id,
        count(*) as n_answers,
        max((completed_at at time zone 'UTC')::date) as last_active
    from attempt
    where
        tenant_id = %(tenant_id)s
        and completed_at >= (%(as_of)s::date - 27)::timestamp at time zone 'UTC'
        and completed_at < (%(as_of)s::date + 1)::timestamp at time zone 'UTC'
        and student_id is not null
        and item_id is not null
        and correct is not null
    group by student_id
)

select
    user_id,
    risks.n_answers,
    active.n_answers as answers_in_log,
    risks.last_active,
    active.last_active as last_active_in_log
from risks
full join active using (user_id)
cross join fit
where fit.fitted and (risks.n_answers, risks.last_active) is distinct from (active.n_answers, active.last_active)
