-- depends: 0019.item_quality
-- Parts of a job's result that other processes computed for it, each for its learners.
comment on column job_run.parameters is 'Parameters of the run, by name; shard: the learners it worked on, such as 2/4, where it was not the job itself.';

-- Unlogged: where a crash of the server empties it, the job computes all of it itself.
create unlogged table job_part (
    tenant_id text not null default 'default',
    job text not null,
    as_of date not null,
    shard int not null,
    shards int not null,
    name text not null,
    piece int not null,
    dag_run_id text,
    basis text not null,
    columns jsonb not null,
    rows bigint not null,
    content bytea not null,
    kept_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, job, as_of, shard, name, piece),
    constraint job_part_shard check (shard between 1 and shards)
);

alter table job_part alter column content set storage external;

comment on table job_part is 'One row a piece of what a shard of a job computed and the job has not yet taken.';
comment on column job_part.tenant_id is 'Whose answers it rests on.';
comment on column job_part.job is 'Job that takes it.';
comment on column job_part.as_of is 'Last complete UTC day it looked at.';
comment on column job_part.shard is 'Number of the shard of learners, from 1.';
comment on column job_part.shards is 'Shards that all learners were divided into.';
comment on column job_part.name is 'Table that its rows are of; counts: numbers for job_run.';
comment on column job_part.piece is 'Its place in the content, from 0.';
comment on column job_part.dag_run_id is 'Airflow''s run id; null where a person ran it. Another run does not take it.';
comment on column job_part.basis is 'Hash of parameters, code version and published calibration. Another basis does not take it.';
comment on column job_part.columns is 'Names and types of its columns, in order; or the counts.';
comment on column job_part.rows is 'Rows in all pieces.';
comment on column job_part.content is 'Piece of a binary COPY stream.';
comment on column job_part.kept_at is 'When it was kept. After twelve hours nothing takes it: the log may hold later answers.';

-- Whether a learner is in one of 1,024 hash buckets, from the first to the last. All of them cost nothing: the planner
-- sees that then it is true of everybody.
create function in_buckets(student_id text, first_bucket int, last_bucket int) returns boolean
language sql immutable parallel safe
as $function$
select
    in_buckets.last_bucket - in_buckets.first_bucket = 1023
    or (hashtextextended(in_buckets.student_id, 0) & 1023) between in_buckets.first_bucket and in_buckets.last_bucket
$function$;

comment on function in_buckets(text, int, int) is 'Whether a learner is in one of 1,024 hash buckets, from the first to the last.';
