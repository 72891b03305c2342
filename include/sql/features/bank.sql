-- One row an item of the bank published by a day, with what theta and rapid answers need.
select
    item_id,
    a,
    b,
    c,
    median_time_ms
from published_items(%(tenant_id)s, %(as_of)s::date)
