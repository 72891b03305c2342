-- More rows than fit into one batch; the last one comes a minute later.
select
    repeat('x', 1000) as filling,
    case n when 20000 then pg_sleep(60)::text end as late
from generate_series(1, 20000) as n
