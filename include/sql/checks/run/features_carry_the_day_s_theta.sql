-- check: features carry the day's theta
-- expects: theta of as_of's features is student_topic_theta's, mirt_ability's only where there is none
select
    feature.user_id,
    feature.topic_id,
    feature.theta_source,
    feature.theta_mean,
    topic.theta as topic_theta,
    ability.theta as ability_theta
from features_topic_daily as feature
left join student_topic_theta as topic using (tenant_id, user_id, topic_id, as_of)
left join mirt_ability as ability using (tenant_id, user_id, as_of)
where
    feature.tenant_id = %(tenant_id)s
    and feature.as_of = %(as_of)s
    and feature.date = %(as_of)s
    and (
        feature.theta_mean is distinct from coalesce(topic.theta, ability.theta)
        or feature.theta_sd is distinct from case when topic.theta is null then ability.se else topic.se end
        or feature.theta_source is distinct from case
            when topic.theta is not null then 'student_topic_theta'
            when ability.theta is not null then 'mirt_ability'
        end
    )
