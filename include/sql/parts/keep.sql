-- Keeps a piece.
insert into job_part (tenant_id, job, as_of, shard, shards, name, piece, dag_run_id, basis, columns, rows, content)
values (
    %(tenant_id)s,
    %(job)s,
    %(as_of)s,
    %(shard)s,
    %(shards)s,
    %(name)s,
    %(piece)s,
    %(dag_run_id)s,
    %(basis)s,
    %(columns)s,
    %(rows)s,
    %(content)s
)
