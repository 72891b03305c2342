-- depends: 0020.shards
-- A run appends its rows one after another, which a block range index follows at a tenth of the cost of two trees: on the
-- first day of a large log half of the time went into them.
drop index features_topic_daily_by_date;

drop index features_topic_daily_by_day;

create index features_topic_daily_by_day on features_topic_daily using brin (tenant_id, as_of, date);
