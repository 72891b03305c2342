-- One row a week: growth of the cohort in theta, and how many learners grew or declined beyond their error.
with picked as (
    select distinct on (user_id, week_start)
        user_id,
        week_start,
        i_t,
        i_t_lower,
        i_t_upper,
        i_t_m,
        i_t_tau,
        i_t_source
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of between %(first_week)s and %(as_of)s
        and week_start between %(first_week)s and %(as_of)s
        and (as_of = %(as_of)s or week_start < date_trunc('week', %(as_of)s::date::timestamp))
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
)

select
    week_start,
    count(*) as n,
    max(i_t_m) as m,
    max(i_t_tau) as tau,
    count(*) filter (where i_t_lower > 0) as n_growing,
    count(*) filter (where i_t_upper < 0) as n_declining
from picked
where i_t is not null and i_t_source is distinct from 'accuracy'
group by week_start
order by week_start
