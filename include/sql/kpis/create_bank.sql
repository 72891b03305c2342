-- One row an item of the bank published as of the day, numbered.
create temporary table kpi_bank on commit drop as
select
    row_number() over (order by item_id collate "C")::int as item,
    item_id,
    a,
    b,
    c,
    median_time_ms
from published_items(%(tenant_id)s, %(as_of)s::date)
