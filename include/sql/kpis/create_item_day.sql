-- One row an item and day: its first answers that are evidence, and how many of them are right.
create temporary table kpi_item_day on commit drop as
select
    item_id,
    day,
    count(*) as n,
    sum(outcome::int) as x
from kpi_first_attempt
where outcome is not null
group by item_id, day
