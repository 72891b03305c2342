-- One row a learner, topic and day of as_of's week with an answer: the learner's theta in the topic as of as_of, where
-- there is none the overall one.
with answered as (
    select distinct
        student_id as user_id,
        topic_id,
        (completed_at at time zone 'UTC')::date as date
    from attempt
    where
        tenant_id = %(tenant)s
        and (completed_at at time zone 'UTC')::date between %(as_of)s - extract(isodow from %(as_of)s)::int + 1 and %(as_of)s
)

select
    answered.*,
    topic.theta as topic_theta,
    topic.se as topic_se,
    ability.theta as ability_theta,
    ability.se as ability_se
from answered
left join student_topic_theta as topic
    on
        topic.tenant_id = %(tenant)s
        and topic.user_id = answered.user_id
        and topic.topic_id = answered.topic_id
        and topic.as_of = %(as_of)s
left join mirt_ability as ability
    on
        ability.tenant_id = %(tenant)s
        and ability.user_id = answered.user_id
        and ability.as_of = %(as_of)s
