-- One row for the day's clustering, where there is one.
select
    run_id,
    as_of,
    status,
    reason,
    k,
    n_learners,
    silhouette,
    jaccard,
    jaccard_mean,
    features,
    centroids,
    labels
from segment_meta
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
