-- One row a series, metric and complete week: the weekly value, its standard error and the learners behind it. Series
-- are the cohort and each segment; weeks of fewer than min_learners learners are left out.
-- A segment's learners in a week are those of the newest clustering of the four weeks before it: one that saw the week
-- would have chosen them by the growth and the habits that the week is to show.
-- theta: random-effects mean of theta from the week's own answers, over learners with min_answers of them.
-- i_t: mean of I_t, over numeric, so that the order of rows changes no bit; growth in theta only, for growth in accuracy
-- is another scale. Its standard error is that of the random-effects mean of the raw growths: I_t itself is shrunk.
with week_theta as (
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
        and week_start between %(first_week)s and %(last_week)s
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
),

week_kpi as (
    select distinct on (user_id, week_start)
        user_id,
        week_start,
        i_t,
        i_t_raw,
        i_t_se,
        i_t_source
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of between %(first_week)s and %(as_of)s
        and week_start between %(first_week)s and %(last_week)s
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
),

clustering as materialized (
    select
        week.week_start::date as week_start,
        newest.as_of
    from generate_series(
        %(first_week)s::date::timestamp, %(last_week)s::date::timestamp, interval '7 days'
    ) as week (week_start)
    cross join lateral (
        select max(as_of) as as_of
        from user_segments
        where
            tenant_id = %(tenant_id)s
            and as_of >= week.week_start::date - 28
            and as_of < week.week_start::date
    ) as newest
),

member as (
    select
        clustering.week_start,
        user_segments.user_id,
        user_segments.label
    from clustering
    join user_segments on user_segments.as_of = clustering.as_of
    where
        user_segments.tenant_id = %(tenant_id)s
        and user_segments.as_of between %(first_week)s::date - 28 and %(last_week)s
),

theta as (
    select
        member.label,
        week_theta.user_id,
        week_theta.week_start,
        week_theta.y,
        week_theta.v
    from week_theta
    left join member using (user_id, week_start)
    where week_theta.n >= %(min_answers)s and week_theta.v is not null
),

growth as (
    select
        member.label,
        week_kpi.user_id,
        week_kpi.week_start,
        week_kpi.i_t::numeric as i_t,
        week_kpi.i_t_raw as y,
        week_kpi.i_t_se ^ 2 as v
    from week_kpi
    left join member using (user_id, week_start)
    where week_kpi.i_t is not null and week_kpi.i_t_source = 'theta'
),

theta_week as (
    select
        case when grouping(label) = 1 then 'cohort' else label end as series,
        week_start,
        random_effects_mean(array_agg(y order by user_id), array_agg(v order by user_id)) as combined,
        count(*) as n_learners
    from theta
    group by grouping sets ((week_start), (label, week_start))
    having (grouping(label) = 1 or label is not null) and count(*) >= %(min_learners)s
)

select
    series,
    'theta' as metric,
    week_start,
    (combined).mean as value,
    (combined).se as se,
    n_learners
from theta_week
union all
select
    case when grouping(label) = 1 then 'cohort' else label end as series,
    'i_t' as metric,
    week_start,
    avg(i_t)::float8 as value,
    (random_effects_mean(array_agg(y order by user_id), array_agg(v order by user_id))).se as se,
    count(*) as n_learners
from growth
group by grouping sets ((week_start), (label, week_start))
having (grouping(label) = 1 or label is not null) and count(*) >= %(min_learners)s
order by series, metric, week_start
