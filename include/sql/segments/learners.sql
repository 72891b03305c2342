-- One row a learner who answered in the last four weeks: habits since first_day and means of the weekly KPIs. Means of
-- KPIs run over numeric, so that the order of rows changes no bit. Growth counts from the source that most rows have:
-- theta and accuracy are different scales. Null: not recorded, or no week has a value.
with learner_session as (
    select
        learner,
        session_no,
        min(day) as day,
        max(day) as last_day,
        sum(answers) as answers,
        sum(hint_answers) as hint_answers,
        sum(hints) as hints
    from kpi_session_day
    group by learner, session_no
),

habits as (
    select
        learner,
        count(*) as sessions,
        sum(answers) as answers,
        count(*) * 7.0 / greatest(7, %(as_of)s::date - min(day) + 1) as sessions_per_week,
        sum(answers) / count(*) as answers_per_session,
        sum(hints) / nullif(sum(hint_answers), 0) as hints_per_answer
    from learner_session
    group by learner
    having max(last_day) > %(as_of)s::date - 28
),

ability as (
    select distinct on (user_id)
        user_id,
        theta as ability
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of between %(first_day)s and %(as_of)s
    order by user_id, as_of desc
),

weekly as materialized (
    select distinct on (user_id, week_start)
        user_id,
        i_t,
        i_t_source,
        a_t,
        e_t,
        r_t
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of between %(first_day)s and %(as_of)s
        and week_start between date_trunc('week', %(first_day)s::date::timestamp)::date and %(as_of)s
    order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
),

growth as materialized (
    select mode() within group (order by i_t_source) as source
    from weekly
    where i_t is not null
),

kpi as (
    select
        weekly.user_id,
        avg(weekly.i_t::numeric) filter (where weekly.i_t_source = growth.source) as i_t,
        avg(weekly.a_t::numeric) as a_t,
        avg(weekly.e_t::numeric) as e_t,
        avg(weekly.r_t::numeric) as r_t
    from weekly
    cross join growth
    group by weekly.user_id
)

select
    kpi_learner.user_id,
    habits.sessions,
    habits.answers,
    kpi.i_t,
    kpi.a_t,
    kpi.e_t,
    kpi.r_t,
    habits.sessions_per_week,
    habits.answers_per_session,
    habits.hints_per_answer,
    ability.ability,
    speed.relative_time
from habits
join kpi_learner on kpi_learner.learner = habits.learner
left join kpi on kpi.user_id = kpi_learner.user_id
left join segment_speed as speed on speed.learner = habits.learner
left join ability on ability.user_id = kpi_learner.user_id
order by kpi_learner.user_id collate "C"
