-- Deletes the day's rows: they are written anew.
delete from weekly_kpi
where tenant_id = %(tenant_id)s and as_of = %(as_of)s
