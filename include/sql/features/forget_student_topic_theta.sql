-- Deletes what earlier runs for the day wrote.
delete from student_topic_theta
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
