-- Removes a tenant's answers before its log is loaded again.
delete from attempt_log
where tenant_id = %(tenant_id)s
