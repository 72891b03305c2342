-- Records what a person decided.
insert into publishing_decision (
    tenant_id,
    run_id,
    as_of,
    decision,
    replaced_run_id,
    reason,
    decided_by,
    code_version
)
values (
    %(tenant_id)s,
    %(run_id)s,
    %(as_of)s,
    %(decision)s,
    %(replaced_run_id)s,
    %(reason)s,
    %(decided_by)s,
    %(code_version)s
)
