-- One row a learner of any shard, numbered as create_learner does.
create temporary table kpi_learner on commit drop as
select
    row_number() over (order by user_id collate "C")::int as learner,
    user_id
from part_kpi_learner
