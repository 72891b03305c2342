-- depends: 0005.kpis
-- Segments of learners, a run at a time.
create table segment_meta (
    tenant_id text not null default 'default',
    run_id text not null,
    as_of date not null,
    status text not null,
    reason text,
    k int,
    n_learners int not null,
    silhouette float8,
    jaccard jsonb,
    jaccard_mean float8,
    features jsonb not null default '{}',
    centroids jsonb,
    labels jsonb,
    matched_to_run_id text,
    parameters jsonb not null default '{}',
    primary key (tenant_id, run_id),
    unique (tenant_id, as_of),
    constraint segment_meta_status check (status in ('success', 'skipped')),
    constraint segment_meta_reason check ((status = 'skipped') = (reason is not null)),
    constraint segment_meta_sizes check (k >= 1 and n_learners >= 0),
    constraint segment_meta_success check (
        status <> 'success' or (k is not null and labels is not null and centroids is not null)
    ),
    constraint segment_meta_silhouette check (silhouette between -1 and 1),
    constraint segment_meta_jaccard check (jaccard_mean between 0 and 1)
);

comment on table segment_meta is 'One row a clustering of learners.';
comment on column segment_meta.tenant_id is 'Whose learners were clustered.';
comment on column segment_meta.run_id is 'Hash of tenant, as_of, parameters and the learners'' features.';
comment on column segment_meta.as_of is 'Last complete UTC day the clustering looked at.';
comment on column segment_meta.status is 'success, or skipped where no stable segments were found.';
comment on column segment_meta.reason is 'Why it was skipped.';
comment on column segment_meta.k is 'Number of clusters.';
comment on column segment_meta.n_learners is 'Learners clustered.';
comment on column segment_meta.silhouette is 'Mean silhouette width.';
comment on column segment_meta.jaccard is 'Bootstrap stability of each cluster: mean Jaccard similarity by cluster.';
comment on column segment_meta.jaccard_mean is 'Mean of those.';
comment on column segment_meta.features is 'Names, centres and scales of the features.';
comment on column segment_meta.centroids is 'Centroid of each cluster on the scaled features.';
comment on column segment_meta.labels is 'Label of each cluster, by rule from its centroid.';
comment on column segment_meta.matched_to_run_id is 'Run whose clusters these were matched to; null on the first.';
comment on column segment_meta.parameters is 'Parameters of the run, by name.';

create table user_segments (
    tenant_id text not null default 'default',
    user_id text not null,
    as_of date not null,
    week_start date not null,
    run_id text not null,
    label text not null,
    cluster int not null,
    membership float8 not null,
    distance float8 not null,
    primary key (tenant_id, user_id, as_of),
    constraint user_segments_week check (week_start = date_trunc('week', as_of::timestamp)::date),
    constraint user_segments_cluster check (cluster >= 0),
    constraint user_segments_membership check (membership between 0 and 1),
    constraint user_segments_distance check (distance >= 0 and distance < '1e300')
) partition by range (as_of);

create index user_segments_by_day on user_segments (tenant_id, as_of);

comment on table user_segments is 'One row a learner and day: the segment the learner is in.';
comment on column user_segments.tenant_id is 'Whose learner it is.';
comment on column user_segments.user_id is 'Learner.';
comment on column user_segments.as_of is 'Last complete UTC day the clustering looked at.';
comment on column user_segments.week_start is 'Monday of as_of''s week.';
comment on column user_segments.run_id is 'Clustering.';
comment on column user_segments.label is 'Name of the segment.';
comment on column user_segments.cluster is 'Number of the cluster, from 0.';
comment on column user_segments.membership is 'How surely the learner belongs to it, 0 to 1.';
comment on column user_segments.distance is 'Distance to its centroid on the scaled features.';
