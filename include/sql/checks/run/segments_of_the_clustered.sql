-- check: segments of the clustered
-- expects: a clustering puts each of its learners into one of its k clusters; each has a KPI row
with clustering as (
    select
        run_id,
        k,
        n_learners
    from segment_meta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and status = 'success'
),

segments as (
    select
        user_id,
        run_id,
        cluster
    from user_segments
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s
)

select
    'learners' as problem,
    clustering.n_learners::text as expected,
    (select count(*) from segments where segments.run_id = clustering.run_id)::text as found
from clustering
where clustering.n_learners <> (select count(*) from segments where segments.run_id = clustering.run_id)
union all
select
    'cluster of ' || segments.user_id,
    'below ' || clustering.k,
    segments.cluster::text
from segments
join clustering using (run_id)
where segments.cluster >= clustering.k
union all
select
    'KPI row of ' || segments.user_id,
    'one',
    'none'
from segments
where not exists (
    select
    from weekly_kpi
    where
        weekly_kpi.tenant_id = %(tenant_id)s
        and weekly_kpi.as_of = %(as_of)s
        and weekly_kpi.user_id = segments.user_id
        and not weekly_kpi.reconstructed
)
