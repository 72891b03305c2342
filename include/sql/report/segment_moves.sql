-- One row a pair of segments: learners who were in the first a week before and are in the second now.
with before as (
    select max(as_of) as as_of
    from user_segments
    where tenant_id = %(tenant_id)s and as_of between %(as_of)s::date - 13 and %(as_of)s::date - 7
)

select
    earlier.label as label_before,
    segment.label,
    count(*) as n
from user_segments as segment
join user_segments as earlier
    on earlier.tenant_id = segment.tenant_id and earlier.user_id = segment.user_id
join before on before.as_of = earlier.as_of
where
    segment.tenant_id = %(tenant_id)s
    and segment.as_of = %(as_of)s
    and segment.label <> earlier.label
group by earlier.label, segment.label
order by count(*) desc, earlier.label, segment.label
