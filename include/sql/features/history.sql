-- One row: the last day before as_of for which weekly theta and daily features were written. Of daily features the last
-- week is looked at first, and nothing before the longest window: they have no tree to find a last day in.
select
    (select max(as_of) from student_week_theta where tenant_id = %(tenant_id)s and as_of < %(as_of)s) as week_theta,
    coalesce(
        (
            select max(as_of)
            from features_topic_daily
            where
                tenant_id = %(tenant_id)s
                and as_of between %(as_of)s::date - 7 and %(as_of)s::date - 1
                and date between %(as_of)s::date - %(history_days)s::int - 7 and %(as_of)s::date - 1
        ),
        (
            select max(as_of)
            from features_topic_daily
            where
                tenant_id = %(tenant_id)s
                and as_of between %(as_of)s::date - %(history_days)s::int and %(as_of)s::date - 8
                and date between %(as_of)s::date - 2 * %(history_days)s::int and %(as_of)s::date - 8
        )
    ) as topic_daily
