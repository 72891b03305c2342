-- How the items of the bank in force on the day agree with its calibration, as a CSV file: one row an item tested.
copy (
    select
        bank.item_id,
        bank.topic_id,
        bank.status,
        fit.n_responses,
        fit.statistic,
        fit.df,
        fit.p,
        fit.p_adjusted,
        fit.rmsd,
        fit.n_early,
        fit.n_late,
        fit.shift,
        fit.shift_se,
        fit.shift_p,
        fit.shift_p_adjusted,
        fit.shift_ets,
        fit.shifted,
        (
            select string_agg(other || ' (' || round(q3_centred::numeric, 2) || ')', '; ' order by q3_centred desc, other)
            from (
                select
                    case when pair.item_1 = bank.item_id then pair.item_2 else pair.item_1 end as other,
                    pair.q3_centred
                from mirt_item_pair as pair
                where
                    pair.tenant_id = %(tenant_id)s
                    and pair.run_id = bank.run_id
                    and bank.item_id in (pair.item_1, pair.item_2)
            ) as of_item
        ) as depends_on,
        bank.run_id,
        bank.as_of as calibrated_as_of
    from published_items(%(tenant_id)s, %(as_of)s) as bank
    join mirt_item_fit as fit on fit.tenant_id = %(tenant_id)s and fit.run_id = bank.run_id and fit.item_id = bank.item_id
    order by bank.item_id collate "C"
) to stdout (format csv, header)
