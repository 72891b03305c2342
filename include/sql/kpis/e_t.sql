-- One row a learner and week: E_t, the gain in speed on correct first attempts between the two four-week windows.
--
-- The median of each window has a standard error from order statistics (McKean and Schrader, 1984), the difference of
-- the two a normal interval (Price and Bonett, 2002).
create temporary table kpi_e_t on commit drop as
with windows as (
    select last_day as window_end
    from kpi_week
    union
    select last_day - 28
    from kpi_week
),

window_day as (
    select
        window_end,
        window_end - days_before as day
    from windows
    cross join generate_series(0, 27) as days_before
),

ranked as (
    select
        kpi_first_attempt.learner,
        window_day.window_end,
        kpi_first_attempt.relative_time,
        row_number() over by_time as time_rank,
        count(*) over (partition by kpi_first_attempt.learner, window_day.window_end) as n
    from window_day
    join kpi_first_attempt on kpi_first_attempt.day = window_day.day
    where kpi_first_attempt.outcome and kpi_first_attempt.relative_time is not null
    window by_time as (
        partition by kpi_first_attempt.learner, window_day.window_end
        order by kpi_first_attempt.relative_time
    )
),

placed as (
    select
        *,
        greatest(1, round((n + 1) / 2.0 - %(z)s * sqrt(n) / 2)) as low_rank
    from ranked
),

medians as (
    select
        learner,
        window_end,
        n,
        (
            max(relative_time) filter (where time_rank = (n + 1) / 2)
            + max(relative_time) filter (where time_rank = n / 2 + 1)
        ) / 2 as median,
        (
            max(relative_time) filter (where time_rank = n - low_rank + 1)
            - max(relative_time) filter (where time_rank = low_rank)
        ) / (2 * %(z)s) as se
    from placed
    group by learner, window_end, n
),

compared as (
    select
        kpi_learner_week.learner,
        kpi_learner_week.week_start,
        coalesce(recent.n, 0) + coalesce(previous.n, 0) as n,
        case when least(coalesce(recent.n, 0), coalesce(previous.n, 0)) >= %(answers_needed)s
            then recent.median - previous.median
        end as difference,
        sqrt(recent.se ^ 2 + previous.se ^ 2) as se
    from kpi_learner_week
    left join medians as recent
        on recent.learner = kpi_learner_week.learner and recent.window_end = kpi_learner_week.last_day
    left join medians as previous
        on previous.learner = kpi_learner_week.learner and previous.window_end = kpi_learner_week.last_day - 28
)

select
    learner,
    week_start,
    n,
    case when difference is not null then greatest(-1, 1 - exp(difference)) end as value,
    case when difference is not null then greatest(-1, 1 - exp(difference + %(z)s * se)) end as lower,
    case when difference is not null then greatest(-1, 1 - exp(difference - %(z)s * se)) end as upper
from compared
where n > 0
