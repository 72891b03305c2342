-- One row a week and KPI: how many learners have a value, and the quartiles of it. Growth measured by accuracy is a
-- KPI of its own, for it is not on the scale of growth in theta.
with picked as (
    select distinct on (user_id, week_start)
        user_id,
        week_start,
        i_t,
        i_t_source,
        a_t,
        e_t,
        r_t
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of between %(first_week)s and %(as_of)s
        and week_start between %(first_week)s and %(as_of)s
        and (as_of = %(as_of)s or week_start < date_trunc('week', %(as_of)s::date::timestamp))
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
),

long as (
    select
        picked.week_start,
        measure.kpi,
        measure.value
    from picked
    cross join lateral (
        values
        ('i_t', case when i_t_source is distinct from 'accuracy' then i_t end),
        ('i_t_accuracy', case when i_t_source = 'accuracy' then i_t end),
        ('a_t', a_t),
        ('e_t', e_t),
        ('r_t', r_t)
    ) as measure (kpi, value)
),

summary as (
    select
        week_start,
        kpi,
        count(*) as n_learners,
        count(value) as n,
        percentile_cont(array[0.25, 0.5, 0.75]) within group (order by value) as quartiles
    from long
    group by week_start, kpi
)

select
    week_start,
    kpi,
    n_learners,
    n,
    quartiles[1] as p25,
    quartiles[2] as median,
    quartiles[3] as p75
from summary
order by week_start, kpi
