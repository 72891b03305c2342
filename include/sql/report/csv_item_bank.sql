-- The item bank in force on the day, as a CSV file: one row an item.
copy (
    select
        item_id,
        topic_id,
        model,
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
        anchor,
        drift_statistic,
        drift_p_value,
        drifted,
        status,
        run_id,
        as_of as calibrated_as_of
    from published_items(%(tenant_id)s, %(as_of)s)
    order by item_id collate "C"
) to stdout (format csv, header)
