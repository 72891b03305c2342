-- depends: 0018.publishing_decisions
-- How the items and the learners of a calibration agree with its model.
create table mirt_quality_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    n_items_tested int not null,
    n_items_misfitting int not null,
    n_pairs int not null,
    n_pairs_dependent int not null,
    q3_mean float8,
    n_learners_tested int not null,
    n_learners_misfitting int not null,
    late_from date not null,
    n_early int not null,
    n_late int not null,
    mean_early float8,
    mean_late float8,
    n_items_compared int not null,
    n_items_shifted int not null,
    shift_reason text,
    samples jsonb not null default '{}',
    primary key (tenant_id, run_id),
    foreign key (tenant_id, run_id) references mirt_fit_meta on delete cascade,
    constraint mirt_quality_meta_counts check (
        n_items_misfitting between 0 and n_items_tested
        and n_pairs_dependent between 0 and n_pairs
        and n_learners_misfitting between 0 and n_learners_tested
        and n_items_shifted between 0 and n_items_compared
        and n_early >= 0 and n_late >= 0
    ),
    constraint mirt_quality_meta_q3_mean check (q3_mean between -1 and 1),
    constraint mirt_quality_meta_means check (mean_early between -100 and 100 and mean_late between -100 and 100),
    constraint mirt_quality_meta_shift_reason check ((n_items_compared = 0) = (shift_reason is not null))
);

comment on table mirt_quality_meta is 'One row a calibration: how many items, pairs of items and learners depart from its model.';
comment on column mirt_quality_meta.tenant_id is 'Whose items they are.';
comment on column mirt_quality_meta.run_id is 'Calibration.';
comment on column mirt_quality_meta.n_items_tested is 'Items whose curve was tested.';
comment on column mirt_quality_meta.n_items_misfitting is 'Those with an adjusted p under 0.05.';
comment on column mirt_quality_meta.n_pairs is 'Pairs of items that 100 learners or more answered both.';
comment on column mirt_quality_meta.n_pairs_dependent is 'Those with a centred Q3 of 0.2 or more and an adjusted p under 0.05.';
comment on column mirt_quality_meta.q3_mean is 'Mean Q3 over the pairs, which each pair is compared with.';
comment on column mirt_quality_meta.n_learners_tested is 'Learners with 10 answers or more.';
comment on column mirt_quality_meta.n_learners_misfitting is 'Those with lz* under -1.645; 5 % are expected where all answer as the model says.';
comment on column mirt_quality_meta.late_from is 'First day of the second half of the calibration window.';
comment on column mirt_quality_meta.n_early is 'Learners with answers in the first half that were compared.';
comment on column mirt_quality_meta.n_late is 'Learners with answers in the second half that were compared.';
comment on column mirt_quality_meta.mean_early is 'Mean of theta in the first half, on the published scale; null where not compared.';
comment on column mirt_quality_meta.mean_late is 'Mean of theta in the second half.';
comment on column mirt_quality_meta.n_items_compared is 'Items compared between the halves.';
comment on column mirt_quality_meta.n_items_shifted is 'Those 0.2 logits or more apart with an adjusted p under 0.05.';
comment on column mirt_quality_meta.shift_reason is 'Why the halves were not compared.';
comment on column mirt_quality_meta.samples is 'Where a sample of the learners was taken: by analysis, every how many learners.';

create table mirt_item_fit (
    tenant_id text not null default 'default',
    run_id text not null,
    item_id text not null,
    n_responses int not null,
    statistic float8,
    df int not null,
    p float8,
    p_adjusted float8,
    rmsd float8,
    curve jsonb not null default '[]',
    n_early int not null,
    n_late int not null,
    shift float8,
    shift_se float8,
    shift_p float8,
    shift_p_adjusted float8,
    shift_ets text,
    shifted boolean not null default false,
    primary key (tenant_id, run_id, item_id),
    foreign key (tenant_id, run_id, item_id) references mirt_item_params on delete cascade,
    constraint mirt_item_fit_sizes check (n_responses >= 0 and df >= 0 and n_early >= 0 and n_late >= 0),
    constraint mirt_item_fit_statistic check (statistic between 0 and '1e300' and (statistic is null) = (p is null)),
    constraint mirt_item_fit_probabilities check (
        p between 0 and 1 and p_adjusted between 0 and 1 and rmsd between 0 and 1
        and shift_p between 0 and 1 and shift_p_adjusted between 0 and 1
    ),
    constraint mirt_item_fit_shift check (shift between -100 and 100 and shift_se between 0 and '1e300'),
    constraint mirt_item_fit_shift_ets check (shift_ets in ('A', 'B', 'C')),
    constraint mirt_item_fit_shifted check (not shifted or abs(shift) >= 0.2)
);

comment on table mirt_item_fit is 'One row an item that a calibration estimated: whether answers follow its curve, and stayed the same over the window.';
comment on column mirt_item_fit.tenant_id is 'Whose item it is.';
comment on column mirt_item_fit.run_id is 'Calibration.';
comment on column mirt_item_fit.item_id is 'Item.';
comment on column mirt_item_fit.n_responses is 'First attempts tested.';
comment on column mirt_item_fit.statistic is 'Score test of the item''s curve; null where the answers do not suffice.';
comment on column mirt_item_fit.df is 'Its degrees of freedom.';
comment on column mirt_item_fit.p is 'p of the test.';
comment on column mirt_item_fit.p_adjusted is 'p adjusted for all items of the run (Benjamini-Hochberg).';
comment on column mirt_item_fit.rmsd is 'Root mean squared distance of observed from expected shares of right answers.';
comment on column mirt_item_fit.curve is 'Observed and expected shares by interval of theta: a list of {theta, n, observed, expected}.';
comment on column mirt_item_fit.n_early is 'Answers in the first half of the window that were compared.';
comment on column mirt_item_fit.n_late is 'Answers in the second half that were compared.';
comment on column mirt_item_fit.shift is 'Log odds ratio of a right answer, second half over first, of equally able learners; above 0: easier later.';
comment on column mirt_item_fit.shift_se is 'Its standard error.';
comment on column mirt_item_fit.shift_p is 'p of Mantel and Haenszel''s test of no shift.';
comment on column mirt_item_fit.shift_p_adjusted is 'That p adjusted for all items of the run (Benjamini-Hochberg).';
comment on column mirt_item_fit.shift_ets is 'ETS class of the shift: A negligible, B, C large.';
comment on column mirt_item_fit.shifted is 'Whether it is 0.2 logits or more with an adjusted p under 0.05.';

create table mirt_item_pair (
    tenant_id text not null default 'default',
    run_id text not null,
    item_1 text not null,
    item_2 text not null,
    n int not null,
    q3 float8 not null,
    q3_centred float8 not null,
    p float8 not null,
    p_adjusted float8 not null,
    primary key (tenant_id, run_id, item_1, item_2),
    foreign key (tenant_id, run_id, item_1) references mirt_item_params (tenant_id, run_id, item_id) on delete cascade,
    foreign key (tenant_id, run_id, item_2) references mirt_item_params (tenant_id, run_id, item_id) on delete cascade,
    constraint mirt_item_pair_order check (item_1 <> item_2),
    constraint mirt_item_pair_n check (n >= 100),
    constraint mirt_item_pair_q3 check (q3 between -1 and 1 and q3_centred >= 0.2),
    constraint mirt_item_pair_p check (p between 0 and 1 and p_adjusted between 0 and 1)
);

create index mirt_item_pair_by_second on mirt_item_pair (tenant_id, run_id, item_2);

comment on table mirt_item_pair is 'One row a pair of items whose answers go together more than ability explains, of a calibration.';
comment on column mirt_item_pair.tenant_id is 'Whose items they are.';
comment on column mirt_item_pair.run_id is 'Calibration.';
comment on column mirt_item_pair.item_1 is 'An item.';
comment on column mirt_item_pair.item_2 is 'Another one.';
comment on column mirt_item_pair.n is 'Learners who answered both.';
comment on column mirt_item_pair.q3 is 'Correlation of their residuals (Yen''s Q3).';
comment on column mirt_item_pair.q3_centred is 'Q3 less the mean over all pairs.';
comment on column mirt_item_pair.p is 'p of the centred Q3, two-sided.';
comment on column mirt_item_pair.p_adjusted is 'That p adjusted for all pairs of the run (Benjamini-Hochberg).';
