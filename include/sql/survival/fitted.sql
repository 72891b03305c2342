-- One row a learner and past landmark of the fit. landmark counts days from as_of; time: days from the landmark's end to
-- the next answer, or to the end of as_of where there is none. Above the number of learners given, or of rows, a random
-- sample of learners, the same for the same learners. learners, rows: those there are.
with past as (
    select *
    from survival_row
    where landmark < %(as_of)s::date
),

learner as (
    select
        past.learner,
        row_number() over (order by kpi_learner.user_id collate "C") as number,
        row_number() over by_hash as place,
        sum(past.rows) over by_hash as rows_up_to,
        count(*) over () as learners,
        (sum(past.rows) over ())::bigint as rows
    from (select learner, count(*) as rows from past group by learner) as past
    join kpi_learner on kpi_learner.learner = past.learner
    window by_hash as (order by md5(kpi_learner.user_id), kpi_learner.user_id collate "C")
)

select
    learner.number as learner,
    past.landmark - %(as_of)s::date as landmark,
    case
        when past.returned_at is null then (%(as_of)s::date - past.landmark)::float8
        else round(extract(epoch from past.returned_at - (past.landmark + 1)::timestamp at time zone 'UTC') / 86400, 6)::float8
    end as time,
    (past.returned_at is not null)::int as event,
    past.sessions,
    past.mean_gap,
    past.days_since_last,
    past.answers,
    past.r_t,
    learner.learners,
    learner.rows
from past
join learner on learner.learner = past.learner
where learner.place <= %(learners_fitted)s and learner.rows_up_to <= %(rows_fitted)s
order by learner.number, past.landmark
