-- One row: whether the log holds answers of other tenants.
select exists (select from attempt_log where tenant_id <> %(tenant_id)s) as others
