-- depends: 0012.every_partition
-- The churn model of a day, the risk of every active learner, and what stands behind S in weekly_kpi.
create table survival_fit_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    status text not null,
    reason text,
    horizon_days int not null,
    n_learners int not null default 0,
    n_landmarks int not null default 0,
    n_rows int not null default 0,
    n_events int not null default 0,
    sampled boolean not null default false,
    sample jsonb,
    covariates jsonb,
    dropped jsonb,
    baseline jsonb,
    evaluation jsonb,
    engine_versions jsonb not null default '{}',
    warnings jsonb not null default '[]',
    parameters jsonb not null default '{}',
    primary key (tenant_id, run_id),
    unique (tenant_id, as_of),
    constraint survival_fit_meta_status check (status in ('success', 'skipped')),
    constraint survival_fit_meta_reason check ((status = 'skipped') = (reason is not null)),
    constraint survival_fit_meta_sizes check (
        horizon_days >= 1 and n_learners >= 0 and n_landmarks >= 0 and n_rows >= n_events and n_events >= 0
    ),
    constraint survival_fit_meta_sample check (sampled = (sample is not null)),
    constraint survival_fit_meta_success check (
        status <> 'success'
        or (n_rows > 0 and covariates is not null and dropped is not null and baseline is not null and evaluation is not null)
    )
);

comment on table survival_fit_meta is 'One row a fit of the churn model.';
comment on column survival_fit_meta.tenant_id is 'Whose learners they are.';
comment on column survival_fit_meta.run_id is 'Hash of tenant, as_of, parameters and the rows fitted and scored.';
comment on column survival_fit_meta.as_of is 'Last complete UTC day the fit looked at.';
comment on column survival_fit_meta.status is 'success, or skipped where the log cannot support the model.';
comment on column survival_fit_meta.reason is 'Why it was skipped.';
comment on column survival_fit_meta.horizon_days is 'Days after as_of that the risk is about.';
comment on column survival_fit_meta.n_learners is 'Learners fitted.';
comment on column survival_fit_meta.n_landmarks is 'Weekly landmarks fitted.';
comment on column survival_fit_meta.n_rows is 'Learners at landmarks, the rows of the fit.';
comment on column survival_fit_meta.n_events is 'Rows followed by activity up to as_of.';
comment on column survival_fit_meta.sampled is 'Whether a sample of the learners was fitted; all active ones are scored in any case.';
comment on column survival_fit_meta.sample is 'Size of the sample, learners it was drawn from, and how.';
comment on column survival_fit_meta.covariates is 'Terms of the model: centre, scale, coefficient with cluster-robust error, hazard ratio with 95 % interval.';
comment on column survival_fit_meta.dropped is 'Covariates left out, each with the reason.';
comment on column survival_fit_meta.baseline is 'Cumulative baseline hazard at the horizon and the error of its logarithm.';
comment on column survival_fit_meta.evaluation is 'AUC, Brier score, calibration and rival forecasts on held-out landmarks; reason where they cannot be had.';
comment on column survival_fit_meta.engine_versions is 'Versions of R and its packages.';
comment on column survival_fit_meta.warnings is 'Warnings that R raised.';
comment on column survival_fit_meta.parameters is 'Parameters of the run, by name.';

create table survival_risk (
    tenant_id text not null default 'default',
    user_id text not null,
    as_of date not null,
    week_start date not null,
    run_id text not null,
    risk float8 not null,
    risk_lower float8 not null,
    risk_upper float8 not null,
    days_since_last int not null,
    last_active date not null,
    n_answers int not null,
    at_risk boolean not null,
    primary key (tenant_id, user_id, as_of),
    constraint survival_risk_week check (week_start = date_trunc('week', as_of::timestamp)::date),
    constraint survival_risk_risk check (
        risk_lower between 0 and risk and risk_upper between risk and 1 and at_risk = (risk >= 0.5)
    ),
    constraint survival_risk_last check (days_since_last between 0 and 27 and last_active = as_of - days_since_last),
    constraint survival_risk_answers check (n_answers >= 1)
) partition by range (as_of);

create index survival_risk_by_day on survival_risk (tenant_id, as_of);

comment on table survival_risk is 'One row a learner who answered in the four weeks up to a day: the risk of staying away.';
comment on column survival_risk.tenant_id is 'Whose learner it is.';
comment on column survival_risk.user_id is 'Learner.';
comment on column survival_risk.as_of is 'Last complete UTC day the fit looked at.';
comment on column survival_risk.week_start is 'Monday of as_of''s week.';
comment on column survival_risk.run_id is 'Fit.';
comment on column survival_risk.risk is 'Probability of no activity within the horizon after as_of.';
comment on column survival_risk.risk_lower is 'Lower end of its 95 % interval.';
comment on column survival_risk.risk_upper is 'Upper end of its 95 % interval.';
comment on column survival_risk.days_since_last is 'Days from the last day with an answer to as_of.';
comment on column survival_risk.last_active is 'Last UTC day with an answer.';
comment on column survival_risk.n_answers is 'Answers of the four weeks.';
comment on column survival_risk.at_risk is 'Whether staying away is at least as likely as coming back: risk of 0.5 or more.';

alter table weekly_kpi
    add column s_n int,
    add column s_source text,
    add column s_reason text,
    add constraint weekly_kpi_s_n check (s_n >= 0),
    add constraint weekly_kpi_s_source check (s is null or (s_source is not null and s_n is not null)),
    add constraint weekly_kpi_s_reason check (s is null or s_reason is null);

comment on column weekly_kpi.s_n is 'Answers of the learner''s four weeks behind s; null where s was not computed yet.';
comment on column weekly_kpi.s_source is 'Method that made s.';
comment on column weekly_kpi.s_reason is 'Why s is null; null too where it was not computed yet.';

create or replace view weekly_kpi_current as
select distinct on (tenant_id, user_id, week_start) *
from weekly_kpi
order by tenant_id, user_id, week_start, reconstructed, as_of desc;

comment on column weekly_kpi_current.s_n is 'Answers of the learner''s four weeks behind s; null where s was not computed yet.';
comment on column weekly_kpi_current.s_source is 'Method that made s.';
comment on column weekly_kpi_current.s_reason is 'Why s is null; null too where it was not computed yet.';
