-- Deletes what earlier runs for the day wrote.
delete from features_topic_daily
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
