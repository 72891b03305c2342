-- The abilities in force on the day, as a CSV file: one row a learner.
copy (
    select
        ability.user_id,
        ability.theta,
        ability.se,
        ability.n_responses,
        ability.method,
        ability.run_id,
        ability.as_of
    from mirt_ability as ability
    where
        ability.tenant_id = %(tenant_id)s
        and ability.as_of = (
            select max(newest.as_of)
            from mirt_ability as newest
            where newest.tenant_id = %(tenant_id)s and newest.as_of <= %(as_of)s
        )
    order by ability.user_id collate "C"
) to stdout (format csv, header)
