-- check: growth rests on weeks
-- expects: growth is of as many learners as its fit says, each with at least as many weekly abilities as the row says
with fit as (
    select
        run_id,
        weeks,
        n_learners_scored
    from growth_brms_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
),

written as (
    select
        user_id,
        run_id,
        n_weeks
    from growth_learner
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
),

span as (
    select date_trunc('week', %(as_of)s::date::timestamp)::date - 7 * (weeks - 1) as first_week
    from fit
),

abilities as (
    select
        theta.user_id,
        count(distinct theta.week_start) as weeks
    from span
    join student_week_theta as theta
        on theta.as_of between span.first_week and %(as_of)s and theta.week_start between span.first_week and %(as_of)s
    where theta.tenant_id = %(tenant_id)s and theta.v is not null
    group by theta.user_id
)

select
    'learners' as problem,
    fit.n_learners_scored::bigint as expected,
    (select count(*) from written where written.run_id = fit.run_id) as found
from fit
where fit.n_learners_scored <> (select count(*) from written where written.run_id = fit.run_id)
union all
select
    'weeks of ' || written.user_id,
    written.n_weeks,
    coalesce(abilities.weeks, 0)
from written
left join abilities using (user_id)
where written.n_weeks > coalesce(abilities.weeks, 0)
