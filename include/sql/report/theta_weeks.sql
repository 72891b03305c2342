-- One row a week: random-effects mean over learners of theta from the week's own answers, with its standard error.
-- y with known error variance v, between-learner variance tau2 by DerSimonian and Laird (1986), eq. 8 and 9; learners
-- with at least min_answers answers in the week. y is not shrunk to a prior, so a week's mean is not either.
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
    order by user_id, week_start, reconstructed, as_of desc
),

learner as (
    select
        week_start,
        y,
        v,
        n,
        1 / v as w
    from picked
    where n >= %(min_answers)s and v is not null
),

fixed as (
    select
        week_start,
        count(*) as k,
        sum(w) as sum_w,
        sum(w * w) as sum_w2,
        sum(w * y) / sum(w) as mean
    from learner
    group by week_start
),

between_learners as (
    select
        fixed.week_start,
        case
            when fixed.k > 1
                then greatest(
                    0,
                    (sum(learner.w * (learner.y - fixed.mean) ^ 2) - (fixed.k - 1))
                    / (fixed.sum_w - fixed.sum_w2 / fixed.sum_w)
                )
            else 0
        end as tau2
    from fixed
    join learner using (week_start)
    group by fixed.week_start, fixed.k, fixed.sum_w, fixed.sum_w2
)

select
    learner.week_start,
    count(*) as n_learners,
    sum(learner.n)::bigint as n_answers,
    sum(learner.y / (learner.v + between_learners.tau2)) / sum(1 / (learner.v + between_learners.tau2)) as mean,
    1 / sqrt(sum(1 / (learner.v + between_learners.tau2))) as se
from learner
join between_learners using (week_start)
group by learner.week_start
order by learner.week_start
