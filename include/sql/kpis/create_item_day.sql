-- One row an item and day: its first answers that are evidence, and how many of them are right.
create temporary table kpi_item_day (
    item_id text not null,
    day date not null,
    n bigint not null,
    x bigint not null
) on commit drop
