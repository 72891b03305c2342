-- One row a learner with an answer that counts: how many, and how those of the first ten compare with what a learner of
-- mean ability gets right of the same items (null: none of the first ten counts).
select
    student_id as learner,
    count(*) as answers,
    (
        sum(outcome::int::float8 - p_at_mean) filter (where place <= 10)
        / sqrt(sum(p_at_mean * (1 - p_at_mean)) filter (where place <= 10))
    ) as start
from glmm_answer
where
    outcome is not null
    and topic_id is not null
    and p_at_mean is not null
group by student_id
order by student_id collate "C"
