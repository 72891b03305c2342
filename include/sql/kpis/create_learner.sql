-- One row a learner with an answer in the windows, numbered: integers join faster than texts.
create temporary table kpi_learner (
    learner int not null,
    user_id text not null
) on commit drop
