-- depends: 0001.bookkeeping
-- What the pipeline is given: the flat answer log (for those without tables of their own), items, goals.

-- No constraint beyond the types: check_attempts counts and shows what is wrong with a log, rather than lose rows.
create table attempt_log (
    tenant_id text not null default 'default',
    student_id text,
    item_id text,
    topic_id text,
    correct boolean,
    completed_at timestamptz,
    started_at timestamptz,
    response_time_ms int,
    hint_used boolean,
    hints int,
    attempt_no int,
    session_id text,
    timed_out boolean
);

create index attempt_log_by_time on attempt_log (tenant_id, completed_at);
create index attempt_log_by_student on attempt_log (tenant_id, student_id, completed_at);

comment on table attempt_log is 'One row an answer; read through the view attempt where ATTEMPT_SOURCE=flat.';
comment on column attempt_log.tenant_id is 'Whose platform the answer comes from.';
comment on column attempt_log.student_id is 'Learner who answered.';
comment on column attempt_log.item_id is 'Item answered.';
comment on column attempt_log.topic_id is 'Topic of the item.';
comment on column attempt_log.correct is 'Whether the answer is correct.';
comment on column attempt_log.completed_at is 'When the answer was given.';
comment on column attempt_log.started_at is 'When the item was shown; null where not recorded.';
comment on column attempt_log.response_time_ms is 'Time spent on the answer, in milliseconds; null where not recorded.';
comment on column attempt_log.hint_used is 'Whether a hint was taken; null where not recorded.';
comment on column attempt_log.hints is 'Number of hints taken; null where not recorded.';
comment on column attempt_log.attempt_no is 'The platform''s own count of this learner''s answers to this item; null where not recorded.';
comment on column attempt_log.session_id is 'The platform''s session; null where not recorded (gaps over 30 minutes then divide sessions).';
comment on column attempt_log.timed_out is 'Whether time ran out before an answer; null where not recorded.';

create table question (
    tenant_id text not null default 'default',
    item_id text not null,
    topic_id text,
    meta jsonb not null default '{}',
    primary key (tenant_id, item_id),
    constraint question_meta check (jsonb_typeof(meta) = 'object'),
    constraint question_meta_tags check (not meta ? 'tags' or jsonb_typeof(meta -> 'tags') = 'array'),
    constraint question_meta_irt check (not meta ? 'irt' or jsonb_typeof(meta -> 'irt') = 'object')
);

comment on table question is 'One row an item: its topic, tags and, where a bank has them, its parameters.';
comment on column question.tenant_id is 'Whose item it is.';
comment on column question.item_id is 'Item.';
comment on column question.topic_id is 'Topic of the item.';
comment on column question.meta is 'tags: a list ("anchor" marks items that carry the scale); irt: bank parameters {a, b, c}, D = 1.';

create table learner_goal (
    tenant_id text not null default 'default',
    user_id text not null,
    target_theta float8 not null,
    target_date date not null,
    primary key (tenant_id, user_id),
    constraint learner_goal_theta_range check (target_theta between -10 and 10)
);

comment on table learner_goal is 'One row a learner who has a goal. Optional.';
comment on column learner_goal.tenant_id is 'Whose learner it is.';
comment on column learner_goal.user_id is 'Learner.';
comment on column learner_goal.target_theta is 'Ability to reach, on the published scale.';
comment on column learner_goal.target_date is 'Day by which to reach it.';
