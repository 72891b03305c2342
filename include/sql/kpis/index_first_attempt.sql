-- Lets a shard of learners read only its own part of the table, which is in the order of learners.
create index on kpi_first_attempt using brin (learner)
