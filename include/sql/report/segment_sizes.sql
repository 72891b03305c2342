-- One row a segment of the day: its learners, and how surely they belong to it.
select
    label,
    cluster,
    count(*) as n,
    avg(membership) as membership
from user_segments
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
group by label, cluster
order by count(*) desc, label
