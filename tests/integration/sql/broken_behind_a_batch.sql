-- More rows than fit into one batch; the last one cannot be had.
select
    repeat('x', 1000) as filling,
    1 / (20000 - n) as broken
from generate_series(1, 20000) as n
