-- depends: 0013.survival
-- Bayesian growth of a day: the population's fit, every learner's line, and what stands behind P and sigma in weekly_kpi.
create table growth_brms_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    status text not null,
    reason text,
    formula text,
    priors jsonb,
    weeks int not null,
    n_learners_fit int not null default 0,
    n_learners_scored int not null default 0,
    n_rows int not null default 0,
    sampled boolean not null default false,
    sample jsonb,
    population jsonb,
    max_rhat float8,
    divergences int,
    draws int,
    sampler jsonb,
    engine_versions jsonb not null default '{}',
    warnings jsonb not null default '[]',
    parameters jsonb not null default '{}',
    primary key (tenant_id, run_id),
    unique (tenant_id, as_of),
    constraint growth_brms_meta_status check (status in ('success', 'skipped')),
    constraint growth_brms_meta_reason check ((status = 'skipped') = (reason is not null)),
    constraint growth_brms_meta_sizes check (
        weeks >= 1 and n_learners_fit >= 0 and n_learners_scored >= n_learners_fit and n_rows >= n_learners_fit
    ),
    constraint growth_brms_meta_sample check (sampled = (sample is not null)),
    constraint growth_brms_meta_sampling check (max_rhat > 0 and max_rhat < 100 and divergences >= 0 and draws >= 1),
    constraint growth_brms_meta_success check (
        status <> 'success'
        or (
            n_rows > 0 and formula is not null and priors is not null and population is not null
            and max_rhat is not null and divergences is not null and draws is not null and sampler is not null
        )
    )
);

comment on table growth_brms_meta is 'One row a day: the fit of the population''s growth.';
comment on column growth_brms_meta.tenant_id is 'Whose learners they are.';
comment on column growth_brms_meta.run_id is 'Hash of tenant, as_of, parameters and the abilities read.';
comment on column growth_brms_meta.as_of is 'Last complete UTC day the fit looked at.';
comment on column growth_brms_meta.status is 'success, or skipped where the data cannot support the model.';
comment on column growth_brms_meta.reason is 'Why it was skipped.';
comment on column growth_brms_meta.formula is 'Formula of the model, as brms reads it.';
comment on column growth_brms_meta.priors is 'Priors of its parameters; those of standard deviations are cut off at zero.';
comment on column growth_brms_meta.weeks is 'Weeks read; week 0 of the model is their middle.';
comment on column growth_brms_meta.n_learners_fit is 'Learners that the population was sampled on.';
comment on column growth_brms_meta.n_learners_scored is 'Learners whose own growth was computed.';
comment on column growth_brms_meta.n_rows is 'Weekly abilities of the learners fitted.';
comment on column growth_brms_meta.sampled is 'Whether a sample of the learners was fitted; all with enough weeks are scored in any case.';
comment on column growth_brms_meta.sample is 'Size of the sample, learners it was drawn from, how, learners by stratum; updated: the population given the others, too.';
comment on column growth_brms_meta.population is 'Parameters of the population: mean, sd, 95 % interval, R-hat and effective sample sizes.';
comment on column growth_brms_meta.max_rhat is 'Largest R-hat of them.';
comment on column growth_brms_meta.divergences is 'Divergent transitions after warm-up.';
comment on column growth_brms_meta.draws is 'Draws kept, all chains together.';
comment on column growth_brms_meta.sampler is 'Seed, chains, warm-up and draws a chain, and target acceptance rate.';
comment on column growth_brms_meta.engine_versions is 'Versions of R and its packages.';
comment on column growth_brms_meta.warnings is 'Warnings that R raised.';
comment on column growth_brms_meta.parameters is 'Parameters of the run, by name.';

create table growth_learner (
    tenant_id text not null default 'default',
    user_id text not null,
    as_of date not null,
    week_start date not null,
    run_id text not null,
    slope float8 not null,
    slope_lower float8 not null,
    slope_upper float8 not null,
    intercept float8 not null,
    theta_now float8 not null,
    theta_now_lower float8 not null,
    theta_now_upper float8 not null,
    p float8,
    p_kind text,
    sigma float8,
    sigma_kind text,
    target_theta float8,
    target_date date,
    n_weeks int not null,
    n_answers int not null,
    draws int not null,
    reason text,
    primary key (tenant_id, user_id, as_of),
    constraint growth_learner_week check (week_start = date_trunc('week', as_of::timestamp)::date),
    constraint growth_learner_slope check (slope between -100 and 100 and slope_lower <= slope_upper),
    constraint growth_learner_theta check (
        intercept between -100 and 100 and theta_now between -100 and 100 and theta_now_lower <= theta_now_upper
    ),
    constraint growth_learner_p check (
        p between 0 and 1 and (p is null) = (p_kind is null) and p_kind in ('goal', 'slope')
    ),
    constraint growth_learner_sigma check (
        sigma > 0 and sigma < 100 and (sigma is null) = (sigma_kind is null) and sigma_kind in ('goal', 'slope')
    ),
    constraint growth_learner_goal check ((target_theta is null) = (target_date is null)),
    constraint growth_learner_reason check ((p is null) = (sigma is null) and (p is null) = (reason is not null)),
    constraint growth_learner_sizes check (n_weeks >= 1 and n_answers >= n_weeks and draws >= 1)
) partition by range (as_of);

create index growth_learner_by_day on growth_learner (tenant_id, as_of);

comment on table growth_learner is 'One row a learner and day: the learner''s line of ability over the weeks read.';
comment on column growth_learner.tenant_id is 'Whose learner it is.';
comment on column growth_learner.user_id is 'Learner.';
comment on column growth_learner.as_of is 'Last complete UTC day the fit looked at.';
comment on column growth_learner.week_start is 'Monday of as_of''s week.';
comment on column growth_learner.run_id is 'Fit of the population.';
comment on column growth_learner.slope is 'Growth of ability a week, posterior mean.';
comment on column growth_learner.slope_lower is 'Lower end of its 95 % interval.';
comment on column growth_learner.slope_upper is 'Upper end of its 95 % interval.';
comment on column growth_learner.intercept is 'Ability on the line at week 0 of the model, the middle of the weeks read.';
comment on column growth_learner.theta_now is 'Ability on the line at as_of, posterior mean.';
comment on column growth_learner.theta_now_lower is 'Lower end of its 95 % interval.';
comment on column growth_learner.theta_now_upper is 'Upper end of its 95 % interval.';
comment on column growth_learner.p is 'Probability that the line reaches the target at the target date; without a goal, that its slope is above zero.';
comment on column growth_learner.p_kind is 'goal or slope: what p is about.';
comment on column growth_learner.sigma is 'Posterior standard deviation of the line at the target date; without a goal, of its slope.';
comment on column growth_learner.sigma_kind is 'goal or slope: what sigma is about.';
comment on column growth_learner.target_theta is 'Goal: the ability to reach; null without a goal.';
comment on column growth_learner.target_date is 'Goal: the day to reach it by; null without a goal.';
comment on column growth_learner.n_weeks is 'Weekly abilities behind the line.';
comment on column growth_learner.n_answers is 'First attempts behind those.';
comment on column growth_learner.draws is 'Draws of the population that the posterior is a mixture over.';
comment on column growth_learner.reason is 'Why p and sigma are null.';

alter table weekly_kpi
    add column p_n int,
    add column p_source text,
    add column p_reason text,
    add column sigma_source text,
    add column sigma_reason text,
    add constraint weekly_kpi_p_n check (p_n >= 0),
    add constraint weekly_kpi_p_source check (p is null or (p_source is not null and p_n is not null)),
    add constraint weekly_kpi_p_reason check (p is null or p_reason is null),
    add constraint weekly_kpi_sigma_source check (sigma is null or sigma_source is not null),
    add constraint weekly_kpi_sigma_reason check (sigma is null or sigma_reason is null);

comment on column weekly_kpi.p_n is 'Weekly abilities behind p and sigma; null where p was not computed yet.';
comment on column weekly_kpi.p_source is 'What p is about: goal, or slope where there is no goal.';
comment on column weekly_kpi.p_reason is 'Why p is null; null too where it was not computed yet.';
comment on column weekly_kpi.sigma_source is 'What sigma is about: goal, or slope where there is no goal.';
comment on column weekly_kpi.sigma_reason is 'Why sigma is null; null too where it was not computed yet.';

create or replace view weekly_kpi_current as
select distinct on (tenant_id, user_id, week_start) *
from weekly_kpi
order by tenant_id, user_id, week_start, reconstructed, as_of desc;

comment on column weekly_kpi_current.p_n is 'Weekly abilities behind p and sigma; null where p was not computed yet.';
comment on column weekly_kpi_current.p_source is 'What p is about: goal, or slope where there is no goal.';
comment on column weekly_kpi_current.p_reason is 'Why p is null; null too where it was not computed yet.';
comment on column weekly_kpi_current.sigma_source is 'What sigma is about: goal, or slope where there is no goal.';
comment on column weekly_kpi_current.sigma_reason is 'Why sigma is null; null too where it was not computed yet.';
