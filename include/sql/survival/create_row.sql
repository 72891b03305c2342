-- One row a learner and landmark with an answer in the 28 days that end with the landmark; as_of is the last landmark.
-- The covariates come from those days. returned_at: the first answer after the landmark's day, null where there is none
-- up to as_of; at as_of itself always null. days_since_last: from the last day with an answer. mean_gap: in days, the
-- open gap to the landmark's end among the gaps. r_t: null where too few items were tried again.
create temporary table survival_row on commit drop as
with window_day as (
    select
        last_day as landmark,
        last_day - days_before as day
    from kpi_week
    cross join generate_series(0, 27) as days_before
),

sessions as (
    select
        window_day.landmark,
        part.learner,
        part.session_no,
        coalesce(min(part.began_at), min(part.first_completed_at)) as began_at,
        max(part.ended_at) as ended_at,
        max(part.day) as last_day,
        sum(part.answers) as answers
    from window_day
    join kpi_session_day as part on part.day = window_day.day
    group by window_day.landmark, part.learner, part.session_no
),

followed as (
    select
        *,
        greatest(
            0,
            round(
                extract(
                    epoch from coalesce(
                        lead(began_at) over (partition by landmark, learner order by session_no),
                        (landmark + 1)::timestamp at time zone 'UTC'
                    ) - ended_at
                )
            )
        )::bigint as gap_seconds
    from sessions
),

history as (
    select
        landmark,
        learner,
        count(*)::int as sessions,
        (sum(gap_seconds) / count(*) / 86400)::float8 as mean_gap,
        landmark - max(last_day) as days_since_last,
        sum(answers)::int as answers
    from followed
    group by landmark, learner
),

-- Days with answers and landmarks in one order from the end, so that the first answer after each is at hand.
event as (
    select
        learner,
        day,
        first_completed_at,
        false as is_landmark
    from kpi_session_day
    union all
    select
        learner,
        landmark,
        null,
        true
    from history
),

next_answer as (
    select
        learner,
        day as landmark,
        is_landmark,
        min(first_completed_at) over (
            partition by learner
            order by day desc, is_landmark desc
            rows unbounded preceding
        ) as returned_at
    from event
)

select
    history.*,
    next_answer.returned_at,
    resolved.r_t
from history
join next_answer
    on next_answer.learner = history.learner and next_answer.landmark = history.landmark and next_answer.is_landmark
left join survival_resolution as resolved
    on resolved.learner = history.learner and resolved.landmark = history.landmark
