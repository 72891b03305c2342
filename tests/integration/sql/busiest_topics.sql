-- One row each of a learner's two topics with most answers in the 26 weeks up to as_of.
select topic_id
from attempt
where
    tenant_id = %(tenant)s
    and student_id = %(learner)s
    and (completed_at at time zone 'UTC')::date between %(as_of)s - 181 and %(as_of)s
group by topic_id
order by count(*) desc, topic_id
limit 2
