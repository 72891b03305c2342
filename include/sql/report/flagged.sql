-- One row a learner to look at, the most reasons first: ability (or accuracy) fell beyond its error, no answer for a
-- fortnight after answers in the fortnight before, or wrong answers that stay wrong. `day` is the last day looked at,
-- `as_of` the run that looks.
with kpi as (
    select distinct on (user_id) *
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and week_start = date_trunc('week', %(day)s::date::timestamp)
        and (as_of = %(as_of)s or (%(day)s::date < %(as_of)s::date and as_of <= %(as_of)s))
    order by user_id, (as_of < week_start + 6), reconstructed, as_of desc
),

last_answer as (
    select
        user_id,
        max(date) as last_day
    from features_topic_daily
    where
        tenant_id = %(tenant_id)s
        and date between %(day)s::date - 27 and %(day)s
        and as_of <= %(as_of)s
    group by user_id
),

newest_ability as (
    select max(as_of) as as_of
    from mirt_ability
    where tenant_id = %(tenant_id)s and as_of <= %(as_of)s
),

ability as (
    select
        mirt_ability.user_id,
        mirt_ability.theta
    from newest_ability
    join mirt_ability on mirt_ability.as_of = newest_ability.as_of
    where mirt_ability.tenant_id = %(tenant_id)s
),

judged as (
    select
        kpi.user_id,
        array_remove(
            array[
                case when kpi.i_t_upper < 0 and kpi.i_t_source is distinct from 'accuracy' then 'ability_fell' end,
                case when kpi.i_t_upper < 0 and kpi.i_t_source = 'accuracy' then 'accuracy_fell' end,
                case when last_answer.last_day <= %(day)s::date - 14 then 'gone_quiet' end,
                case when kpi.r_t_upper < %(errors_stay_below)s then 'errors_stay' end
            ],
            null
        ) as reasons,
        ability.theta,
        kpi.i_t,
        kpi.i_t_lower,
        kpi.i_t_upper,
        kpi.r_t,
        kpi.r_t_n,
        last_answer.last_day
    from kpi
    left join last_answer on last_answer.user_id = kpi.user_id
    left join ability on ability.user_id = kpi.user_id
)

select *
from judged
where cardinality(reasons) > 0
order by cardinality(reasons) desc, i_t_upper nulls last, r_t nulls last, last_day desc, user_id collate "C"
