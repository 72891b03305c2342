-- Growth in accuracy takes the place of growth in theta that is not known: leaves one row a learner and week.
delete from kpi_growth as theta
using kpi_growth as accuracy
where
    theta.source = 'theta'
    and theta.value is null
    and accuracy.source = 'accuracy'
    and theta.learner = accuracy.learner
    and theta.week_start = accuracy.week_start
