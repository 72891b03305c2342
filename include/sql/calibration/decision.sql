-- One row: what a person decided last about the calibrations of a day. None where nobody did.
select
    run_id,
    decision,
    reason,
    decided_by,
    (decided_at at time zone 'UTC')::date as decided_on
from publishing_decision
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s::date
order by decision_id desc
limit 1
