-- One row a learner of any shard, numbered in the order of their ids' bytes.
create temporary table kpi_learner on commit drop as
select
    row_number() over (order by user_id collate "C")::int as learner,
    user_id
from part_kpi_learner
