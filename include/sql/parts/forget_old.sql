-- Deletes what shards left and no job will take: a day has passed.
delete from job_part
where kept_at < now() - interval '1 day'
