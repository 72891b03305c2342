-- Deletes what earlier runs for the day wrote.
delete from features_topic_daily
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and date between %(as_of)s::date - 182 and %(as_of)s
