-- depends: 0020.shards
-- A run appends its rows one after another, which a block range index follows at a tenth of the cost of two trees: on the
-- first day of a large log half of the time went into them.
drop index features_topic_daily_by_date;

drop index features_topic_daily_by_day;

create index features_topic_daily_by_day on features_topic_daily
using brin (tenant_id, as_of, date);

-- There is no tree to find the last day in: the last week is looked at first, and nothing before the 26 weeks that a run
-- fills in at most.
create function last_features_day(tenant text, day date) returns date
language sql stable parallel safe
as $function$
select coalesce(
    (
        select max(features.as_of)
        from features_topic_daily as features
        where
            features.tenant_id = last_features_day.tenant
            and features.as_of between last_features_day.day - 7 and last_features_day.day - 1
            and features.date between last_features_day.day - 190 and last_features_day.day - 1
    ),
    (
        select max(features.as_of)
        from features_topic_daily as features
        where
            features.tenant_id = last_features_day.tenant
            and features.as_of between last_features_day.day - 182 and last_features_day.day - 8
            and features.date between last_features_day.day - 364 and last_features_day.day - 8
    )
)
$function$;

comment on function last_features_day(text, date) is 'The last day before a day, within 26 weeks, whose run wrote daily features; null where none did.';
