-- One row, after so many seconds; none where the divisor is 0.
select
    %(part)s::text as part,
    pg_sleep(%(seconds)s)::text as late,
    1 / %(divisor)s as whole
