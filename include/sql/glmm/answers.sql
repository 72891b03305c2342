-- One row a learner and item: an answer that counts, of the learners named (null: of all).
select
    student_id as learner,
    topic_id as topic,
    item_id as item,
    week,
    outcome,
    log_odds_at_mean
from glmm_answer
where
    outcome is not null
    and topic_id is not null
    and log_odds_at_mean is not null
    and (%(learners)s::text[] is null or student_id = any(%(learners)s::text[]))
order by student_id collate "C", place
