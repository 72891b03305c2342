-- depends: 0014.growth
-- Growth of the cohort by topic: a run of the mixed model a row.
create table growth_glmm_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    status text not null,
    reason text,
    first_day date not null,
    formula text,
    item_term text,
    item_reason text,
    n_learners int not null,
    n_weeks int not null,
    n_topics int not null,
    n_items int not null,
    n_answers bigint not null,
    n_rows bigint not null,
    sampled boolean not null default false,
    sample jsonb,
    converged boolean,
    singular boolean,
    messages jsonb,
    fixed jsonb,
    random jsonb,
    topics jsonb,
    coefficients jsonb,
    log_likelihood float8,
    aic float8,
    bic float8,
    engine_versions jsonb,
    warnings jsonb,
    parameters jsonb not null default '{}',
    primary key (tenant_id, run_id),
    unique (tenant_id, as_of),
    constraint growth_glmm_meta_status check (status in ('success', 'skipped')),
    constraint growth_glmm_meta_reason check ((status = 'skipped') = (reason is not null)),
    constraint growth_glmm_meta_success check (
        status <> 'success'
        or (
            formula is not null and item_term is not null and converged is not null and singular is not null
            and fixed is not null and random is not null and topics is not null and coefficients is not null
            and log_likelihood is not null and engine_versions is not null
        )
    ),
    constraint growth_glmm_meta_window check (first_day <= as_of),
    constraint growth_glmm_meta_item_term check (item_term in ('random', 'offset')),
    constraint growth_glmm_meta_item_reason check ((item_term = 'offset') = (item_reason is not null)),
    constraint growth_glmm_meta_sizes check (
        n_learners >= 0 and n_weeks >= 0 and n_topics >= 0 and n_items >= 0 and n_rows >= 0 and n_answers >= n_rows
    ),
    constraint growth_glmm_meta_sample check (sampled = (sample is not null)),
    constraint growth_glmm_meta_log_likelihood check (log_likelihood between '-1e300' and 0)
);

comment on table growth_glmm_meta is 'One row a day: the binomial mixed model of right answers, growth by learner with topics and items.';
comment on column growth_glmm_meta.tenant_id is 'Whose learners they are.';
comment on column growth_glmm_meta.run_id is 'Hash of tenant, as_of, parameters, answers and code version.';
comment on column growth_glmm_meta.as_of is 'Last complete UTC day the model looked at. Week 0 is the seven days that end then.';
comment on column growth_glmm_meta.status is 'success, or skipped where there is too little data or no service.';
comment on column growth_glmm_meta.reason is 'Why it was skipped.';
comment on column growth_glmm_meta.first_day is 'First day of the answers; glmm_weeks whole weeks end at as_of.';
comment on column growth_glmm_meta.formula is 'The model in lme4''s notation. week: whole weeks before as_of, 0, -1, -2, ...; its unit is a week.';
comment on column growth_glmm_meta.item_term is 'random: items are random effects, and the intercept is that of the mean item. offset: they are known, by the log-odds of a right answer that the published parameters give at the mean ability, and the intercept is how far above it the mean learner is.';
comment on column growth_glmm_meta.item_reason is 'Why items are an offset: routed by ability, or more than 2,000; null where they are random.';
comment on column growth_glmm_meta.n_learners is 'Learners in the fit.';
comment on column growth_glmm_meta.n_weeks is 'Weeks with an answer.';
comment on column growth_glmm_meta.n_topics is 'Topics in the fit.';
comment on column growth_glmm_meta.n_items is 'Items in the fit.';
comment on column growth_glmm_meta.n_answers is 'First attempts in the fit.';
comment on column growth_glmm_meta.n_rows is 'Rows in the fit: one a learner and item.';
comment on column growth_glmm_meta.sampled is 'Whether the fit read a sample of the learners.';
comment on column growth_glmm_meta.sample is 'The sample: learners and answers there are, why and how it was drawn, and by stratum how many there are and were taken.';
comment on column growth_glmm_meta.converged is 'Whether the optimiser ended well and lme4''s checks of gradient and Hessian passed.';
comment on column growth_glmm_meta.singular is 'Whether a variance is zero or a correlation 1 or -1: the data cannot tell that effect.';
comment on column growth_glmm_meta.messages is 'What lme4 said of the fit.';
comment on column growth_glmm_meta.fixed is 'Fixed effects: a list of {term, estimate, se, z, p, lower, upper}, 95 % Wald intervals; log-odds, for week a week.';
comment on column growth_glmm_meta.random is 'Random effects: a list of {group, term, sd, correlation with the intercept}.';
comment on column growth_glmm_meta.topics is 'Topics: a list of {topic_id, effect: log-odds by which it is easier than the mean topic (with the offset: than published), the conditional mode, se: its conditional sd, n: answers, published: mean log-odds of its items at the mean ability}.';
comment on column growth_glmm_meta.coefficients is 'What /glmm/predict scores learners and weeks with; an item''s offset comes with it.';
comment on column growth_glmm_meta.log_likelihood is 'Log-likelihood by the Laplace approximation.';
comment on column growth_glmm_meta.aic is 'Akaike''s information criterion.';
comment on column growth_glmm_meta.bic is 'Bayesian information criterion.';
comment on column growth_glmm_meta.engine_versions is 'Versions of R and lme4.';
comment on column growth_glmm_meta.warnings is 'Warnings of the computation.';
comment on column growth_glmm_meta.parameters is 'Parameters of the run, by name.';
