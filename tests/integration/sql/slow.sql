-- One row, a minute later.
select pg_sleep(60)::text
