-- Deletes the day's calibrations that are not published, and with them their items, but for those that a person decided
-- about; this run's own goes too.
delete from mirt_fit_meta as fit
where
    fit.tenant_id = %(tenant_id)s
    and fit.as_of = %(as_of)s
    and not fit.published
    and (
        fit.run_id = %(run_id)s
        or not exists (
            select
            from publishing_decision as decision
            where decision.tenant_id = fit.tenant_id and fit.run_id in (decision.run_id, decision.replaced_run_id)
        )
    )
