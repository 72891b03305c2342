-- One row an item of the bank published by a day.
select
    run_id,
    item_id,
    topic_id,
    a,
    b,
    c,
    se_a,
    se_b,
    se_c,
    n_responses,
    p_value,
    infit,
    outfit,
    median_time_ms,
    status,
    first_published_as_of,
    model,
    latent_mean,
    latent_sd
from published_items(%(tenant_id)s, %(day)s::date)
