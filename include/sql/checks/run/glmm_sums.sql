-- check: GLMM sums
-- expects: the mixed model's topics are as many as it says, and sum to its answers; its weeks end at as_of
select
    fit.run_id,
    fit.n_topics,
    topics.n_topics as topics_listed,
    fit.n_answers,
    topics.n_answers as answers_of_topics,
    fit.first_day
from growth_glmm_meta as fit
cross join lateral (
    select
        count(*) as n_topics,
        sum(topic.n) as n_answers
    from jsonb_to_recordset(fit.topics) as topic (topic_id text, n bigint)
) as topics
where
    fit.tenant_id = %(tenant_id)s
    and fit.as_of = %(as_of)s
    and fit.status = 'success'
    and (
        topics.n_topics <> fit.n_topics
        or topics.n_answers is distinct from fit.n_answers
        or fit.first_day <> fit.as_of - 7 * (fit.parameters ->> 'glmm_weeks')::int + 1
    )
