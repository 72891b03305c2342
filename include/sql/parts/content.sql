-- One row: a piece of a shard's table. None after the last.
select content
from job_part
where
    tenant_id = %(tenant_id)s
    and job = %(job)s
    and as_of = %(as_of)s
    and shard = %(shard)s
    and name = %(name)s
    and piece = %(piece)s
