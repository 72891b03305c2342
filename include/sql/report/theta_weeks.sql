-- One row a week: random-effects mean over learners of theta from the week's own answers, with its standard error;
-- learners with at least min_answers answers in the week. y is not shrunk to a prior, so a week's mean is not either.
with picked as (
    select distinct on (user_id, week_start)
        user_id,
        week_start,
        y,
        v,
        n
    from student_week_theta
    where
        tenant_id = %(tenant_id)s
        and as_of between %(first_week)s and %(as_of)s
        and week_start between %(first_week)s and %(as_of)s
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
),

effect as (
    select
        week_start,
        sum(n)::bigint as n_answers,
        random_effects_mean(array_agg(y order by user_id), array_agg(v order by user_id)) as combined
    from picked
    where n >= %(min_answers)s and v is not null
    group by week_start
)

select
    week_start,
    (combined).k as n_learners,
    n_answers,
    (combined).mean as mean,
    (combined).se as se
from effect
order by week_start
