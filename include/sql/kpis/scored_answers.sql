-- One row a learner within (after, up_to]: the first answers that are evidence of ability, on items of the bank, as lines
-- "learner,item,day,correct", the day counted from first_day. A row a learner crosses the wire much faster than a row an
-- answer.
select string_agg(concat_ws(',', learner, item, day - %(first_day)s::date, outcome::int), E'\n') as lines
from kpi_first_attempt
where
    learner > %(after)s
    and learner <= %(up_to)s
    and item is not null
    and outcome is not null
group by learner
