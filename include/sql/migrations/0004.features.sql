-- depends: 0003.calibration
-- Abilities by week and by topic, and daily activity by topic.
-- Partitioned tables carry no foreign key: attaching a partition would lock the table it points to against writers.
create table student_week_theta (
    tenant_id text not null default 'default',
    user_id text not null,
    week_start date not null,
    as_of date not null,
    m float8 not null,
    s float8 not null,
    v float8,
    y float8,
    mu0 float8 not null,
    sd0 float8 not null,
    n int not null,
    run_id text not null,
    reconstructed boolean not null,
    primary key (tenant_id, user_id, week_start, as_of),
    constraint student_week_theta_monday check (extract(isodow from week_start) = 1),
    constraint student_week_theta_reconstructed check (
        week_start <= as_of and reconstructed = (week_start < date_trunc('week', as_of::timestamp)::date)
    ),
    constraint student_week_theta_finite check (m between -100 and 100 and mu0 between -100 and 100),
    constraint student_week_theta_sd check (s > 0 and s < 100 and sd0 > 0 and sd0 < 100),
    constraint student_week_theta_likelihood check (
        (v is null) = (s >= sd0) and (v is null) = (y is null)
        and v > 0 and v < '1e300' and y between '-1e300' and '1e300'
    ),
    constraint student_week_theta_n check (n >= 1)
) partition by range (as_of);

create index student_week_theta_by_day on student_week_theta (tenant_id, as_of);

comment on table student_week_theta is 'One row a learner, week and run: ability from that week''s own first attempts.';
comment on column student_week_theta.tenant_id is 'Whose learner it is.';
comment on column student_week_theta.user_id is 'Learner.';
comment on column student_week_theta.week_start is 'Monday of the week.';
comment on column student_week_theta.as_of is 'as_of of the run that wrote the row.';
comment on column student_week_theta.m is 'EAP of theta under the prior N(mu0, sd0).';
comment on column student_week_theta.s is 'Posterior standard deviation.';
comment on column student_week_theta.v is 'Variance of the likelihood part, 1 / (1/s^2 - 1/sd0^2); null where s >= sd0.';
comment on column student_week_theta.y is 'Mean of the likelihood part, v (m/s^2 - mu0/sd0^2); null where s >= sd0.';
comment on column student_week_theta.mu0 is 'Prior mean: the calibration''s latent mean.';
comment on column student_week_theta.sd0 is 'Prior standard deviation: the calibration''s latent standard deviation.';
comment on column student_week_theta.n is 'First attempts in the week.';
comment on column student_week_theta.run_id is 'Calibration whose items were used.';
comment on column student_week_theta.reconstructed is 'Whether the row was made after its week had ended, from answers up to the week''s end.';

create table student_topic_theta (
    tenant_id text not null default 'default',
    user_id text not null,
    topic_id text not null,
    as_of date not null,
    theta float8 not null,
    se float8 not null,
    n_responses int not null,
    prior_mean float8 not null,
    prior_sd float8 not null,
    tau float8 not null,
    run_id text not null,
    primary key (tenant_id, user_id, topic_id, as_of),
    constraint student_topic_theta_finite check (theta between -100 and 100 and prior_mean between -100 and 100),
    constraint student_topic_theta_sd check (
        se > 0 and se < 100 and prior_sd > 0 and prior_sd < 100 and tau >= 0 and tau < 100
    ),
    constraint student_topic_theta_n check (n_responses >= 1)
) partition by range (as_of);

create index student_topic_theta_by_day on student_topic_theta (tenant_id, as_of);

comment on table student_topic_theta is 'One row a learner, topic and day, from first attempts in the calibration window.';
comment on column student_topic_theta.tenant_id is 'Whose learner it is.';
comment on column student_topic_theta.user_id is 'Learner.';
comment on column student_topic_theta.topic_id is 'Topic.';
comment on column student_topic_theta.as_of is 'Last complete UTC day the estimate looked at.';
comment on column student_topic_theta.theta is 'Ability in the topic, on the published scale.';
comment on column student_topic_theta.se is 'Its posterior standard deviation.';
comment on column student_topic_theta.n_responses is 'First attempts in the topic behind it.';
comment on column student_topic_theta.prior_mean is 'Prior mean: the learner''s theta from answers outside the topic, else the population''s.';
comment on column student_topic_theta.prior_sd is 'Prior standard deviation: root of that estimate''s squared error plus tau^2.';
comment on column student_topic_theta.tau is 'Between-topic standard deviation of theta within a learner, estimated from the data.';
comment on column student_topic_theta.run_id is 'Calibration whose items were used.';

create table features_topic_daily (
    tenant_id text not null default 'default',
    user_id text not null,
    topic_id text not null,
    date date not null,
    as_of date not null,
    attempts int not null,
    correct int not null,
    first_attempts int not null,
    avg_time_ms float8,
    rt_median_ms float8,
    hints int,
    theta_mean float8,
    theta_sd float8,
    theta_source text,
    improvement float8,
    reconstructed boolean not null,
    primary key (tenant_id, user_id, topic_id, date, as_of),
    constraint features_topic_daily_day check (date <= as_of and reconstructed = (date < as_of)),
    constraint features_topic_daily_counts check (
        attempts >= 1 and correct between 0 and attempts and first_attempts between 0 and attempts and hints >= 0
    ),
    constraint features_topic_daily_times check (
        avg_time_ms >= 0 and avg_time_ms < '1e300' and rt_median_ms >= 0 and rt_median_ms < '1e300'
    ),
    constraint features_topic_daily_theta check (
        (theta_mean is null) = (theta_source is null) and (theta_mean is null) = (theta_sd is null)
        and theta_mean between -100 and 100 and theta_sd > 0 and theta_sd < 100
    ),
    constraint features_topic_daily_theta_source check (theta_source in ('student_topic_theta', 'mirt_ability')),
    constraint features_topic_daily_improvement check (improvement between '-1e6' and '1e6')
) partition by range (date);

create index features_topic_daily_by_date on features_topic_daily (tenant_id, date);
create index features_topic_daily_by_day on features_topic_daily (tenant_id, as_of);

comment on table features_topic_daily is 'One row a learner, topic and day on which the learner answered in it.';
comment on column features_topic_daily.tenant_id is 'Whose learner it is.';
comment on column features_topic_daily.user_id is 'Learner.';
comment on column features_topic_daily.topic_id is 'Topic.';
comment on column features_topic_daily.date is 'UTC day of the answers.';
comment on column features_topic_daily.as_of is 'as_of of the run that wrote the row.';
comment on column features_topic_daily.attempts is 'Answers.';
comment on column features_topic_daily.correct is 'Correct answers.';
comment on column features_topic_daily.first_attempts is 'Answers to items that the learner had never answered before.';
comment on column features_topic_daily.avg_time_ms is 'Mean response time in milliseconds; null where not recorded.';
comment on column features_topic_daily.rt_median_ms is 'Median response time in milliseconds; null where not recorded.';
comment on column features_topic_daily.hints is 'Hints taken; null where not recorded.';
comment on column features_topic_daily.theta_mean is 'Ability as of as_of, for a day of an earlier week as of that week''s end; see theta_source.';
comment on column features_topic_daily.theta_sd is 'Its standard error.';
comment on column features_topic_daily.theta_source is 'student_topic_theta, or mirt_ability where the topic has none; null where neither has.';
comment on column features_topic_daily.improvement is 'Share correct of the day minus the learner''s share correct in the topic over the 28 days before it; null where those hold no answer.';
comment on column features_topic_daily.reconstructed is 'Whether the row was written by a run for a later day.';
