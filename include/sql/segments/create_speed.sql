-- One row a learner with enough timed first attempts: the median of log response time over the item's median.
create temporary table segment_speed (
    learner int not null,
    relative_time float8 not null
) on commit drop
