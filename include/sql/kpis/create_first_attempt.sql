-- One row a first answer that is evidence, of learners who have such answers to items that are not in the bank: of all
-- learners', only these are looked at again once the cohort's are known.
create temporary table kpi_first_attempt (
    learner int not null,
    item_id text not null,
    day date not null,
    correct boolean not null
) on commit drop
