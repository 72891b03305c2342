-- One row a week to write, with the last day it may look at.
create temporary table kpi_week on commit drop as
select *
from unnest(%(week_starts)s::date[], %(last_days)s::date[]) as week (week_start, last_day)
