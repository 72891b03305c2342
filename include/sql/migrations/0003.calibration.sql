-- depends: 0002.source
-- Calibration runs, the item bank each of them left, and abilities.
create table mirt_fit_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    window_start date not null,
    window_end date not null,
    window_extended boolean not null,
    window_reason text,
    model text not null,
    engine text not null,
    engine_version text not null,
    code_version text not null,
    data_fingerprint text not null,
    n_persons bigint not null,
    n_items int not null,
    n_responses bigint not null,
    converged boolean not null,
    iterations int not null,
    log_likelihood float8,
    aic float8,
    bic float8,
    latent_mean float8,
    latent_sd float8,
    se_method text,
    priors text not null,
    exclusions jsonb not null default '[]',
    parameters jsonb not null default '{}',
    model_spec jsonb not null default '{}',
    published boolean not null,
    published_at_as_of date,
    reason text,
    created_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, run_id),
    constraint mirt_fit_meta_model check (model in ('2PL', '3PL', 'Rasch')),
    constraint mirt_fit_meta_window check (window_start <= window_end and window_end <= as_of),
    constraint mirt_fit_meta_window_reason check (not window_extended or window_reason is not null),
    constraint mirt_fit_meta_sizes check (n_persons >= 0 and n_items >= 0 and n_responses >= 0 and iterations >= 0),
    constraint mirt_fit_meta_finite check (
        log_likelihood between '-1e300' and '1e300' and aic between '-1e300' and '1e300'
        and bic between '-1e300' and '1e300' and latent_mean between -100 and 100
    ),
    constraint mirt_fit_meta_latent_sd check (latent_sd > 0 and latent_sd < 100),
    constraint mirt_fit_meta_scale check (not published or (latent_mean is not null and latent_sd is not null)),
    constraint mirt_fit_meta_published check (published = (published_at_as_of is not null)),
    constraint mirt_fit_meta_published_after check (published_at_as_of >= as_of),
    constraint mirt_fit_meta_unpublished_reason check (published or reason is not null)
);

create unique index mirt_fit_meta_one_published_a_day on mirt_fit_meta (tenant_id, as_of) where published;
create index mirt_fit_meta_by_publication on mirt_fit_meta (tenant_id, published_at_as_of desc) where published;

comment on table mirt_fit_meta is 'One row a calibration: what it was fitted to, how it ended, and whether it was published.';
comment on column mirt_fit_meta.tenant_id is 'Whose answers were calibrated.';
comment on column mirt_fit_meta.run_id is 'Hash of tenant, as_of, parameters, data fingerprint and code version.';
comment on column mirt_fit_meta.as_of is 'Last complete UTC day the calibration looked at.';
comment on column mirt_fit_meta.window_start is 'First day of the answers calibrated.';
comment on column mirt_fit_meta.window_end is 'Last day of the answers calibrated.';
comment on column mirt_fit_meta.window_extended is 'Whether the window had to reach further back than asked.';
comment on column mirt_fit_meta.window_reason is 'Why it was extended.';
comment on column mirt_fit_meta.model is '2PL, 3PL or Rasch.';
comment on column mirt_fit_meta.engine is 'What fitted the model.';
comment on column mirt_fit_meta.engine_version is 'Version of the engine.';
comment on column mirt_fit_meta.code_version is 'Version of the pipeline.';
comment on column mirt_fit_meta.data_fingerprint is 'Hash of the answers calibrated.';
comment on column mirt_fit_meta.n_persons is 'Learners calibrated.';
comment on column mirt_fit_meta.n_items is 'Items calibrated.';
comment on column mirt_fit_meta.n_responses is 'First attempts calibrated.';
comment on column mirt_fit_meta.converged is 'Whether the EM algorithm met its tolerance.';
comment on column mirt_fit_meta.iterations is 'EM cycles.';
comment on column mirt_fit_meta.log_likelihood is 'Marginal log-likelihood at the estimate, without log-priors.';
comment on column mirt_fit_meta.aic is 'Akaike''s information criterion.';
comment on column mirt_fit_meta.bic is 'Bayesian information criterion.';
comment on column mirt_fit_meta.latent_mean is 'Mean of theta over the learners calibrated, on the published scale.';
comment on column mirt_fit_meta.latent_sd is 'Standard deviation of theta over the learners calibrated, on the published scale.';
comment on column mirt_fit_meta.se_method is 'How standard errors were computed.';
comment on column mirt_fit_meta.priors is 'Priors of the item parameters.';
comment on column mirt_fit_meta.exclusions is 'What was left out: a list of {reason, count, detail}.';
comment on column mirt_fit_meta.parameters is 'Parameters of the run, by name.';
comment on column mirt_fit_meta.model_spec is 'linking_constants {A, B, se_A, se_B, method, n_anchors_used, dropped}, quadrature, reference_run_id.';
comment on column mirt_fit_meta.published is 'Whether everybody reads these items.';
comment on column mirt_fit_meta.published_at_as_of is 'as_of of the run that published them; null where unpublished.';
comment on column mirt_fit_meta.reason is 'Why the run was not published, or what to know of it.';
comment on column mirt_fit_meta.created_at is 'When the row was written.';

create table mirt_item_params (
    tenant_id text not null default 'default',
    run_id text not null,
    item_id text not null,
    topic_id text,
    a float8 not null,
    b float8 not null,
    c float8 not null default 0,
    se_a float8,
    se_b float8,
    se_c float8,
    n_responses int not null,
    p_value float8,
    infit float8,
    outfit float8,
    median_time_ms float8,
    anchor boolean not null,
    drift_statistic float8,
    drift_p_value float8,
    drifted boolean not null default false,
    status text not null,
    first_published_as_of date,
    primary key (tenant_id, run_id, item_id),
    foreign key (tenant_id, run_id) references mirt_fit_meta on delete cascade,
    constraint mirt_item_params_finite check (
        a between '-1e6' and '1e6' and b between '-1e6' and '1e6'
        and infit between 0 and '1e6' and outfit between 0 and '1e300' and drift_statistic between '-1e6' and '1e300'
    ),
    constraint mirt_item_params_c check (c >= 0 and c < 1),
    constraint mirt_item_params_se check (
        se_a between 0 and '1e300' and se_b between 0 and '1e300' and se_c between 0 and '1e300'
    ),
    constraint mirt_item_params_n_responses check (n_responses >= 0),
    constraint mirt_item_params_median_time check (median_time_ms >= 0 and median_time_ms < '1e300'),
    constraint mirt_item_params_p_value check (p_value between 0 and 1),
    constraint mirt_item_params_drift_p_value check (drift_p_value between 0 and 1),
    constraint mirt_item_params_drifted check (anchor or not drifted),
    constraint mirt_item_params_status check (status in ('estimated', 'provisional', 'frozen'))
);

comment on table mirt_item_params is 'One row an item of a calibration: P = c + (1 - c) / (1 + exp(-a (theta - b))), D = 1. A run holds the whole bank.';
comment on column mirt_item_params.tenant_id is 'Whose item it is.';
comment on column mirt_item_params.run_id is 'Calibration.';
comment on column mirt_item_params.item_id is 'Item.';
comment on column mirt_item_params.topic_id is 'Topic of the item.';
comment on column mirt_item_params.a is 'Discrimination, on the published scale.';
comment on column mirt_item_params.b is 'Difficulty, on the published scale.';
comment on column mirt_item_params.c is 'Lower asymptote (guessing).';
comment on column mirt_item_params.se_a is 'Standard error of a; null where a was fixed.';
comment on column mirt_item_params.se_b is 'Standard error of b; null where b was fixed.';
comment on column mirt_item_params.se_c is 'Standard error of c; null where c was fixed.';
comment on column mirt_item_params.n_responses is 'First attempts behind the parameters; for a frozen item those of the run that estimated it.';
comment on column mirt_item_params.p_value is 'Share of those that are correct (classical difficulty).';
comment on column mirt_item_params.infit is 'Information-weighted mean square of residuals; 1 expected.';
comment on column mirt_item_params.outfit is 'Unweighted mean square of residuals; 1 expected.';
comment on column mirt_item_params.median_time_ms is 'Median response time of first attempts in the calibration window, in milliseconds; an answer under a tenth of it is rapid. Null where not recorded.';
comment on column mirt_item_params.anchor is 'Whether the item is an anchor of the scale.';
comment on column mirt_item_params.drift_statistic is 'Statistic of the test that an anchor kept its parameters.';
comment on column mirt_item_params.drift_p_value is 'p of that test.';
comment on column mirt_item_params.drifted is 'Whether the anchor was left out of the link because it moved.';
comment on column mirt_item_params.status is 'estimated, provisional (estimated under the weak prior from too few answers), or frozen (parameters of an earlier run).';
comment on column mirt_item_params.first_published_as_of is 'as_of of the run that first published the item; null while it never was.';

create table mirt_ability (
    tenant_id text not null default 'default',
    user_id text not null,
    as_of date not null,
    theta float8 not null,
    se float8 not null,
    n_responses int not null,
    method text not null,
    run_id text not null,
    primary key (tenant_id, user_id, as_of),
    constraint mirt_ability_theta check (theta between -100 and 100),
    constraint mirt_ability_se check (se > 0 and se < 100),
    constraint mirt_ability_n_responses check (n_responses >= 1),
    constraint mirt_ability_method check (method in ('EAP', 'MAP', 'WLE'))
) partition by range (as_of);

create index mirt_ability_by_day on mirt_ability (tenant_id, as_of);

comment on table mirt_ability is 'One row a learner who answered within the calibration window, and day.';
comment on column mirt_ability.tenant_id is 'Whose learner it is.';
comment on column mirt_ability.user_id is 'Learner.';
comment on column mirt_ability.as_of is 'Last complete UTC day the estimate looked at.';
comment on column mirt_ability.theta is 'Ability, on the published scale.';
comment on column mirt_ability.se is 'Its standard error (posterior standard deviation for EAP).';
comment on column mirt_ability.n_responses is 'First attempts behind it.';
comment on column mirt_ability.method is 'EAP, MAP or WLE.';
comment on column mirt_ability.run_id is 'Calibration whose items were used.';
