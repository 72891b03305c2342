-- Leaves one row a learner and week: growth that is known before one that is not, then growth in theta.
delete from kpi_growth as worse
using kpi_growth as accuracy
where
    accuracy.source = 'accuracy'
    and worse.learner = accuracy.learner
    and worse.week_start = accuracy.week_start
    and worse.source = case when accuracy.value is null then 'accuracy' else 'theta' end
    and exists (
        select
        from kpi_growth as theta
        where theta.source = 'theta' and theta.learner = accuracy.learner and theta.week_start = accuracy.week_start
    )
