-- One row a learner who answered in the eight weeks up to as_of, the one with most answers there first.
select
    student_id,
    count(*) as answers
from attempt
where
    tenant_id = %(tenant)s
    and (completed_at at time zone 'UTC')::date between %(as_of)s - 55 and %(as_of)s
group by student_id
order by answers desc, student_id
