-- One row: the last day before as_of for which weekly theta and daily features were written.
select
    (select max(as_of) from student_week_theta where tenant_id = %(tenant_id)s and as_of < %(as_of)s) as week_theta,
    last_features_day(%(tenant_id)s, %(as_of)s::date) as topic_daily
