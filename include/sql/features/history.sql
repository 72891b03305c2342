-- One row: the last day before as_of for which weekly theta and daily features were written, within the 26 weeks that a
-- run fills in at most. The last week is looked at first: there is no tree to find the last day in.
select
    coalesce(
        (
            select max(as_of)
            from student_week_theta
            where tenant_id = %(tenant_id)s and as_of between %(as_of)s::date - 7 and %(as_of)s::date - 1
        ),
        (
            select max(as_of)
            from student_week_theta
            where tenant_id = %(tenant_id)s and as_of between %(as_of)s::date - 182 and %(as_of)s::date - 8
        )
    ) as week_theta,
    last_features_day(%(tenant_id)s, %(as_of)s::date) as topic_daily
