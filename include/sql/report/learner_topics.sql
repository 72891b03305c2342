-- One row a learner asked for and topic, on the newest day up to as_of that has topic abilities.
with newest as (
    select max(as_of) as as_of
    from student_topic_theta
    where tenant_id = %(tenant_id)s and as_of <= %(as_of)s
)

select
    topic.user_id,
    topic.topic_id,
    topic.theta,
    topic.se,
    topic.n_responses
from newest
join student_topic_theta as topic on topic.as_of = newest.as_of
where topic.tenant_id = %(tenant_id)s and topic.user_id = any(%(user_ids)s)
order by topic.user_id, topic.theta, topic.topic_id collate "C"
