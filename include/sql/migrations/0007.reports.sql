-- depends: 0006.segments
-- Files of the weekly report.
create table report_artifacts (
    tenant_id text not null default 'default',
    scope text not null,
    subject_id text not null default '',
    week_start date not null,
    as_of date not null,
    format text not null,
    lang text not null,
    url text not null,
    sha256 text not null,
    bytes bigint not null,
    engine text not null,
    job_run_id bigint references job_run,
    primary key (tenant_id, scope, subject_id, week_start, as_of, format, lang),
    constraint report_artifacts_scope check (scope in ('cohort', 'learner')),
    constraint report_artifacts_subject check ((scope = 'cohort') = (subject_id = '')),
    constraint report_artifacts_week check (week_start = date_trunc('week', as_of::timestamp)::date),
    constraint report_artifacts_format check (format in ('html', 'pdf') or format ~ '^csv:[a-z0-9_]+$'),
    constraint report_artifacts_lang check (lang in ('en', 'ko')),
    constraint report_artifacts_sha256 check (sha256 ~ '^[0-9a-f]{64}$'),
    constraint report_artifacts_bytes check (bytes > 0)
);

comment on table report_artifacts is 'One row a file of a report.';
comment on column report_artifacts.tenant_id is 'Whose report it is.';
comment on column report_artifacts.scope is 'cohort or learner.';
comment on column report_artifacts.subject_id is 'Learner the file is about; empty for the cohort.';
comment on column report_artifacts.week_start is 'Monday of as_of''s week.';
comment on column report_artifacts.as_of is 'Last complete UTC day the report looks at.';
comment on column report_artifacts.format is 'html, pdf, or csv:<name> of a table behind the report.';
comment on column report_artifacts.lang is 'Language: en or ko.';
comment on column report_artifacts.url is 'Where the file is.';
comment on column report_artifacts.sha256 is 'SHA-256 of the file, in hexadecimal.';
comment on column report_artifacts.bytes is 'Size of the file.';
comment on column report_artifacts.engine is 'What rendered it.';
comment on column report_artifacts.job_run_id is 'Run that wrote it.';
