-- What ran: one row a run of a job, also of one that failed.
create table job_run (
    job_run_id bigint generated always as identity primary key,
    tenant_id text not null default 'default',
    job text not null,
    as_of date not null,
    dag_run_id text,
    try_number int,
    status text not null,
    reason text,
    code_version text not null,
    parameters jsonb not null default '{}',
    rows_read jsonb not null default '{}',
    rows_written jsonb not null default '{}',
    exclusions jsonb not null default '[]',
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    duration_s float8,
    peak_memory_mb float8,
    exit_code int,
    error text,
    constraint job_run_status check (status in ('running', 'success', 'skipped', 'failed', 'lost')),
    constraint job_run_finished check ((finished_at is null) = (status = 'running')),
    constraint job_run_skip_reason check (status <> 'skipped' or reason is not null),
    constraint job_run_exclusions check (jsonb_typeof(exclusions) = 'array')
);

create index job_run_by_day on job_run (tenant_id, as_of, job);

comment on table job_run is 'One row a run of a job: what it read, wrote and left out, and how it ended.';
comment on column job_run.job_run_id is 'Number of the run.';
comment on column job_run.tenant_id is 'Whose answers the run looked at.';
comment on column job_run.job is 'Name of the job, such as mirt_calibrate.';
comment on column job_run.as_of is 'Last complete UTC day the run looked at.';
comment on column job_run.dag_run_id is 'Airflow''s run id; null where a person ran the job.';
comment on column job_run.try_number is 'Airflow''s try number; null where a person ran the job.';
comment on column job_run.status is 'running, success, skipped (too little data, see reason), failed, or lost (killed).';
comment on column job_run.reason is 'Why the job skipped.';
comment on column job_run.code_version is 'Release, and commit where known, of the code that ran.';
comment on column job_run.parameters is 'Parameters of the run, by name.';
comment on column job_run.rows_read is 'Rows read, by relation.';
comment on column job_run.rows_written is 'Rows written, by table.';
comment on column job_run.exclusions is 'What was left out: a list of {reason, count, detail}.';
comment on column job_run.started_at is 'When the run started.';
comment on column job_run.finished_at is 'When the run ended; null while it runs.';
comment on column job_run.duration_s is 'Duration in seconds.';
comment on column job_run.peak_memory_mb is 'Greatest resident memory of the process, in MiB.';
comment on column job_run.exit_code is 'Exit code: 0 done or skipped, 64 bad input, 65 refused, 75 temporary, 143 terminated.';
comment on column job_run.error is 'Message of the error that ended the run.';
