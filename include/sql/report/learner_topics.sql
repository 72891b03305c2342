-- One row a learner asked for and topic, on the newest day up to as_of, within 26 weeks, that has topic abilities. The
-- last week is looked at first: there is no tree to find the day in.
with newest as (
    select
        coalesce(
            (
                select max(as_of)
                from student_topic_theta
                where tenant_id = %(tenant_id)s and as_of between %(as_of)s::date - 7 and %(as_of)s::date
            ),
            (
                select max(as_of)
                from student_topic_theta
                where tenant_id = %(tenant_id)s and as_of between %(as_of)s::date - 182 and %(as_of)s::date - 8
            )
        ) as as_of
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
