-- One row a learner, topic (null: all of them) and past week: theta as of the week's end, for the days filled in now.
create temporary table past_theta (
    user_id text not null,
    topic_id text,
    week_start date not null,
    theta float8 not null,
    se float8 not null
) on commit drop
