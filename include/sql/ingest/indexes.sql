-- One row an index of the log that carries no constraint: its name and the statement that makes it.
select
    indexrelid::regclass::text as name,
    pg_get_indexdef(indexrelid) as definition
from pg_index
where
    indrelid = 'attempt_log'::regclass
    and not exists (select from pg_constraint where conindid = indexrelid)
order by indexrelid
