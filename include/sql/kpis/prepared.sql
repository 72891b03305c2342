-- One row: what the windows hold.
select
    (select count(*) from kpi_answer) as answers,
    (select count(*) from kpi_learner) as learners,
    count(*) filter (where timed) as timed,
    count(*) filter (where timed_out) as timed_out,
    count(*) filter (where rapid and not timed_out) as rapid,
    count(*) filter (where item is null) as uncalibrated,
    count(*) filter (where item is not null and outcome is not null) as scored
from kpi_first_attempt
