-- One row: first attempts of the window, and what counts of them.
select
    count(*) as answers,
    count(*) filter (where late) as timed_out,
    count(*) filter (where rapid) as rapid,
    count(*) filter (where outcome is not null and topic_id is null) as without_topic,
    count(*) filter (where outcome is not null and topic_id is not null and p_at_mean is null) as outside_bank
from glmm_answer
