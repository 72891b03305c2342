-- One row an item of the bank, by its number.
select
    item,
    a,
    b,
    c
from kpi_bank
order by item
