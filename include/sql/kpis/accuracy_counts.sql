-- One row a learner and week without growth in theta but with enough answers for growth in accuracy: in the recent and
-- the previous fortnight n answers, x of them right, e expected right, from the share right of each item among the
-- first attempts of other learners in the same eight weeks.
with item_weeks as (
    select
        kpi_week.week_start,
        item_day.item_id,
        sum(item_day.n) as n,
        sum(item_day.x) as x
    from kpi_week
    join kpi_item_day as item_day on item_day.day between kpi_week.last_day - 55 and kpi_week.last_day
    group by kpi_week.week_start, item_day.item_id
),

-- Only answers to items that are not in the bank can be enough here and too few for theta.
off_bank as (
    select distinct learner
    from kpi_first_attempt
),

without_theta as (
    select
        kpi_learner_week.learner,
        kpi_learner_week.week_start,
        kpi_learner_week.last_day
    from kpi_learner_week
    join off_bank using (learner)
    left join kpi_growth using (learner, week_start)
    where kpi_growth.value is null
),

compared as (
    select
        without_theta.learner,
        without_theta.week_start,
        answers.day > without_theta.last_day - 14 as recent,
        answers.correct::int as correct,
        (item_weeks.x - answers.correct::int) / (item_weeks.n - 1) as expected
    from without_theta
    join kpi_first_attempt as answers
        on answers.learner = without_theta.learner
        and answers.day between without_theta.last_day - 27 and without_theta.last_day
    join item_weeks
        on item_weeks.week_start = without_theta.week_start and item_weeks.item_id = answers.item_id
    where item_weeks.n > %(others_needed)s
),

final as (
    select
        learner,
        week_start,
        count(*) filter (where recent) as n_recent,
        sum(correct) filter (where recent) as x_recent,
        sum(expected) filter (where recent) as e_recent,
        count(*) filter (where not recent) as n_previous,
        sum(correct) filter (where not recent) as x_previous,
        sum(expected) filter (where not recent) as e_previous
    from compared
    group by learner, week_start
)

select *
from final
where n_recent >= %(answers_needed)s and n_previous >= %(answers_needed)s
order by week_start, learner
