-- One row an item of the bank published as of the day, with what its calibration says of its quality, where it does.
with bank as (
    select *
    from published_items(%(tenant_id)s, %(as_of)s)
),

pair as (
    select
        run_id,
        item_1 as item_id,
        item_2 as other,
        q3_centred
    from mirt_item_pair
    where tenant_id = %(tenant_id)s
    union all
    select
        run_id,
        item_2 as item_id,
        item_1 as other,
        q3_centred
    from mirt_item_pair
    where tenant_id = %(tenant_id)s
),

dependent as (
    select
        bank.item_id,
        array_agg(pair.other order by pair.q3_centred desc, pair.other collate "C") as depends_on
    from bank
    join pair using (run_id, item_id)
    group by bank.item_id
),

fit as (
    select
        run_id,
        item_id,
        p_adjusted,
        rmsd,
        curve,
        shift,
        shifted
    from mirt_item_fit
    where tenant_id = %(tenant_id)s
)

select
    bank.item_id,
    bank.topic_id,
    bank.a,
    bank.b,
    bank.c,
    bank.se_a,
    bank.se_b,
    bank.n_responses,
    bank.p_value,
    bank.infit,
    bank.outfit,
    bank.anchor,
    bank.drift_statistic,
    bank.drift_p_value,
    bank.drifted,
    bank.status,
    fit.p_adjusted as fit_p,
    fit.rmsd,
    coalesce(fit.curve, '[]') as curve,
    fit.shift,
    coalesce(fit.shifted, false) as shifted,
    coalesce(dependent.depends_on, '{}') as depends_on
from bank
left join fit using (run_id, item_id)
left join dependent using (item_id)
order by bank.item_id collate "C"
