-- One row a learner and week with a session in its four weeks: A_t, activity.
--
-- Sums run over integers (milliseconds, hints), so that the order of rows changes no bit. Each term's variance is that
-- of its input taken as a sample of the learner's habits: sessions Poisson, mean gap and hints per attempt by their
-- sample variance, median duration by order statistics (McKean and Schrader, 1984); a term at its limit has none. One
-- session, one duration or one answer with hints recorded says nothing of its variance: then the interval is null.
create temporary table kpi_a_t on commit drop as
with window_day as (
    select
        week_start,
        last_day,
        last_day - days_before as day
    from kpi_week
    cross join generate_series(0, 27) as days_before
),

sessions as (
    select
        window_day.week_start,
        window_day.last_day,
        part.learner,
        part.session_no,
        part.derived,
        coalesce(min(part.began_at), min(part.first_completed_at)) as began_at,
        max(part.ended_at) as ended_at,
        case when min(part.began_at) is not null or sum(part.answers) > 1
            then round(
                extract(epoch from max(part.ended_at) - coalesce(min(part.began_at), min(part.first_completed_at))) * 1000
            )::bigint
        end as duration_ms,
        sum(part.hint_answers) as hint_answers,
        sum(part.hints) as hints,
        sum(part.squared_hints) as squared_hints
    from window_day
    join kpi_session_day as part on part.day = window_day.day
    group by window_day.week_start, window_day.last_day, part.learner, part.session_no, part.derived
),

ordered as (
    select
        *,
        greatest(
            0,
            round(
                extract(
                    epoch from coalesce(
                        lead(began_at) over (partition by week_start, learner order by session_no),
                        (last_day + 1)::timestamp at time zone 'UTC'
                    ) - ended_at
                ) * 1000
            )
        )::bigint as gap_ms,
        row_number() over (partition by week_start, learner order by duration_ms) as duration_rank,
        count(duration_ms) over (partition by week_start, learner) as durations
    from sessions
),

ranked as (
    select
        *,
        greatest(1, round((durations + 1) / 2.0 - %(z)s * sqrt(durations) / 2)) as low_rank
    from ordered
),

inputs as (
    select
        week_start,
        learner,
        count(*) as n,
        bool_or(derived) as some_derived,
        bool_and(derived) as all_derived,
        avg(gap_ms) / 86400000 as mean_gap,
        var_samp(gap_ms) / 86400000.0 ^ 2 / count(*) as mean_gap_variance,
        sum(hint_answers) as hint_answers,
        sum(hints) / nullif(sum(hint_answers), 0) as mean_hints,
        greatest(
            0, sum(squared_hints) - sum(hints) ^ 2 / nullif(sum(hint_answers), 0)
        ) / nullif(sum(hint_answers) * (sum(hint_answers) - 1), 0) as mean_hints_variance,
        percentile_cont(0.5) within group (order by duration_ms) / 1000 as median_seconds,
        case when count(duration_ms) > 1
            then (
                (
                    max(duration_ms) filter (where duration_rank = durations - low_rank + 1)
                    - max(duration_ms) filter (where duration_rank = low_rank)
                ) / (2000 * %(z)s)
            ) ^ 2
        end as median_seconds_variance
    from ranked
    group by week_start, learner
),

terms as (
    select
        *,
        least(1, n / 28.0) as sessions_term,
        greatest(0, 1 - mean_gap / 7) as mean_gap_term,
        case when mean_hints is not null then greatest(0, 1 - mean_hints / 3) end as hints_term,
        case when median_seconds is not null then least(1, median_seconds / 900) end as seconds_term
    from inputs
),

weighed as (
    select
        *,
        0.60 + case when hints_term is null then 0 else 0.20 end + case when seconds_term is null then 0 else 0.20 end
            as weight,
        0.35 * sessions_term + 0.25 * mean_gap_term + coalesce(0.20 * hints_term, 0) + coalesce(0.20 * seconds_term, 0)
            as value,
        case when sessions_term < 1 then (0.35 / 28) ^ 2 * n else 0 end
        + (mean_gap_term > 0)::int * (0.25 / 7) ^ 2 * mean_gap_variance
        + case when hints_term is null then 0 else (hints_term > 0)::int * (0.20 / 3) ^ 2 * mean_hints_variance end
        + case
            when seconds_term is null then 0
            else (seconds_term < 1)::int * (0.20 / 900) ^ 2 * median_seconds_variance
        end
            as variance
    from terms
)

select
    learner,
    week_start,
    n,
    (value / weight)::float8 as value,
    case when variance is not null then greatest(0, (value - %(z)s * sqrt(variance)) / weight)::float8 end as lower,
    case when variance is not null then least(1, (value + %(z)s * sqrt(variance)) / weight)::float8 end as upper,
    case
        when all_derived then 'derived sessions'
        when some_derived then 'recorded and derived sessions'
        else 'recorded sessions'
    end as source,
    nullif(
        array_remove(
            array[
                case when hints_term is null then 'hints_per_attempt' end,
                case when seconds_term is null then 'median_session_seconds' end
            ],
            null
        ),
        '{}'
    ) as dropped
from weighed
