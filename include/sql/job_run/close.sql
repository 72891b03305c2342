-- Completes the bookkeeping row of a run that has ended.
update job_run
set
    status = %(status)s,
    reason = %(reason)s,
    exit_code = %(exit_code)s,
    error = %(error)s,
    rows_read = %(rows_read)s,
    rows_written = %(rows_written)s,
    exclusions = %(exclusions)s,
    duration_s = %(duration_s)s,
    peak_memory_mb = %(peak_memory_mb)s,
    finished_at = clock_timestamp()
where job_run_id = %(job_run_id)s
