-- One row for the day's churn model, where there is one: its evaluation, and the learners it scored.
select
    status,
    reason,
    horizon_days,
    evaluation,
    (
        select count(*)
        from survival_risk
        where survival_risk.tenant_id = survival_fit_meta.tenant_id and survival_risk.as_of = survival_fit_meta.as_of
    ) as n_scored
from survival_fit_meta
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
