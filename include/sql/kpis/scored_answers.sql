-- One row a first answer that is evidence of ability, on an item of the bank, of the learners of one shard.
copy (
    select
        learner,
        item,
        day - %(first_day)s::date as day,
        outcome::int as correct
    from kpi_first_attempt
    where
        learner %% %(shards)s = %(shard)s
        and item is not null
        and outcome is not null
) to stdout (format csv)
