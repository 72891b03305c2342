-- One row an item of the bank published as of the day.
select
    item_id,
    topic_id,
    a,
    b,
    c,
    se_a,
    se_b,
    n_responses,
    p_value,
    infit,
    outfit,
    anchor,
    drift_statistic,
    drift_p_value,
    drifted,
    status
from published_items(%(tenant_id)s, %(as_of)s)
order by item_id collate "C"
