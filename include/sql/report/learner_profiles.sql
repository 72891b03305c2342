-- One row a learner asked for: ability, KPIs of the day, segment, goal, last answer.
with asked as (
    select unnest(%(user_ids)s::text[]) as user_id
),

newest_ability as (
    select max(as_of) as as_of
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of <= %(as_of)s
),

ability as (
    select mirt_ability.*
    from newest_ability
    join mirt_ability on mirt_ability.as_of = newest_ability.as_of
    where mirt_ability.tenant_id = %(tenant_id)s and mirt_ability.user_id = any(%(user_ids)s)
),

kpi as (
    select *
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of = %(as_of)s
        and week_start = date_trunc('week', %(as_of)s::date::timestamp)
        and user_id = any(%(user_ids)s)
),

last_answer as (
    select
        user_id,
        max(date) as last_day
    from features_topic_daily
    where
        tenant_id = %(tenant_id)s
        and date between %(as_of)s::date - 55 and %(as_of)s
        and as_of <= %(as_of)s
        and user_id = any(%(user_ids)s)
    group by user_id
)

select
    asked.user_id,
    ability.theta,
    ability.se,
    ability.n_responses,
    segment.label as segment,
    goal.target_theta,
    goal.target_date,
    last_answer.last_day,
    kpi.i_t,
    kpi.i_t_lower,
    kpi.i_t_upper,
    coalesce(kpi.i_t_n, 0) as i_t_n,
    kpi.i_t_source,
    kpi.i_t_reason,
    kpi.a_t,
    kpi.a_t_lower,
    kpi.a_t_upper,
    coalesce(kpi.a_t_n, 0) as a_t_n,
    kpi.a_t_reason,
    kpi.e_t,
    kpi.e_t_lower,
    kpi.e_t_upper,
    coalesce(kpi.e_t_n, 0) as e_t_n,
    kpi.e_t_reason,
    kpi.r_t,
    kpi.r_t_lower,
    kpi.r_t_upper,
    coalesce(kpi.r_t_n, 0) as r_t_n,
    kpi.r_t_reason
from asked
left join ability on ability.user_id = asked.user_id
left join kpi on kpi.user_id = asked.user_id
left join last_answer on last_answer.user_id = asked.user_id
left join learner_goal as goal
    on goal.tenant_id = %(tenant_id)s and goal.user_id = asked.user_id
left join user_segments as segment
    on segment.tenant_id = %(tenant_id)s and segment.as_of = %(as_of)s and segment.user_id = asked.user_id
order by asked.user_id collate "C"
