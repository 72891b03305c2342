-- depends: 0008.partitions
-- What is published: as of a past day for jobs, now for people.

-- The item bank that a run for `day` reads: the newest one published by a run for that day or before.
create or replace function published_items(tenant text, day date)
returns table (
    tenant_id text,
    run_id text,
    item_id text,
    topic_id text,
    a float8,
    b float8,
    c float8,
    se_a float8,
    se_b float8,
    se_c float8,
    n_responses int,
    p_value float8,
    infit float8,
    outfit float8,
    median_time_ms float8,
    anchor boolean,
    drift_statistic float8,
    drift_p_value float8,
    drifted boolean,
    status text,
    first_published_as_of date,
    as_of date,
    model text,
    latent_mean float8,
    latent_sd float8
)
language sql stable
as $function$
with newest as (
    select
        fit.tenant_id,
        fit.run_id,
        fit.as_of,
        fit.model,
        fit.latent_mean,
        fit.latent_sd
    from mirt_fit_meta as fit
    where
        fit.tenant_id = published_items.tenant
        and fit.published
        and fit.published_at_as_of <= published_items.day
    order by fit.published_at_as_of desc, fit.as_of desc
    limit 1
)

select
    item.*,
    newest.as_of,
    newest.model,
    newest.latent_mean,
    newest.latent_sd
from newest
join mirt_item_params as item
    on item.tenant_id = newest.tenant_id and item.run_id = newest.run_id
$function$;

comment on function published_items(text, date) is 'The item bank a run for that day reads: items of the newest calibration published by then, with its as_of, model and latent distribution.';

-- One row an item of the newest published calibration.
create or replace view mirt_item_params_current as
with newest as (
    select distinct on (tenant_id)
        tenant_id,
        run_id,
        as_of,
        model,
        latent_mean,
        latent_sd
    from mirt_fit_meta
    where published
    order by tenant_id, published_at_as_of desc, as_of desc
)

select
    item.*,
    newest.as_of,
    newest.model,
    newest.latent_mean,
    newest.latent_sd
from newest
join mirt_item_params as item
    on item.tenant_id = newest.tenant_id and item.run_id = newest.run_id;

comment on view mirt_item_params_current is 'The item bank in force: items of the newest published calibration. For people; jobs use published_items().';

-- One row a learner: the newest ability.
create or replace view mirt_ability_current as
select distinct on (tenant_id, user_id) *
from mirt_ability
order by tenant_id, user_id, as_of desc;

comment on view mirt_ability_current is 'Each learner''s newest ability.';

-- One row a learner and week: written in that week rather than reconstructed, and then the newest.
create or replace view weekly_kpi_current as
select distinct on (tenant_id, user_id, week_start) *
from weekly_kpi
order by tenant_id, user_id, week_start, reconstructed, as_of desc;

comment on view weekly_kpi_current is 'Each learner''s KPIs of every week, live rows before reconstructed ones, then the newest.';

-- One row a learner of the newest clustering.
create or replace view user_segments_current as
with newest as (
    select
        tenant_id,
        max(as_of) as as_of
    from segment_meta
    where status = 'success'
    group by tenant_id
)

select segment.*
from newest
join user_segments as segment
    on segment.tenant_id = newest.tenant_id and segment.as_of = newest.as_of;

comment on view user_segments_current is 'The segment of each learner of the newest successful clustering.';

-- One row a file of the newest report of each subject.
create or replace view report_artifacts_current as
select distinct on (tenant_id, scope, subject_id, format, lang) *
from report_artifacts
order by tenant_id, scope, subject_id, format, lang, as_of desc;

comment on view report_artifacts_current is 'The files of each subject''s newest report.';

-- A view's column says the same as the table's column it shows.
do $block$
declare
    commented record;
begin
    for commented in
        select distinct on (shown.attrelid, shown.attname)
            shown.attrelid::regclass as view_name,
            shown.attname as column_name,
            col_description(source.attrelid, source.attnum) as description
        from pg_class as class
        join pg_attribute as shown on shown.attrelid = class.oid and shown.attnum > 0
        join pg_rewrite as rule on rule.ev_class = class.oid
        join pg_depend as dependency on dependency.objid = rule.oid and dependency.classid = 'pg_rewrite'::regclass
        join pg_class as base on base.oid = dependency.refobjid and base.relkind in ('r', 'p')
        join pg_attribute as source on source.attrelid = base.oid and source.attname = shown.attname
        where class.oid in (
            'mirt_item_params_current'::regclass, 'mirt_ability_current'::regclass, 'weekly_kpi_current'::regclass,
            'user_segments_current'::regclass, 'report_artifacts_current'::regclass
        )
        order by shown.attrelid, shown.attname, base.relname <> replace(class.relname, '_current', '')
    loop
        execute format(
            'comment on column %s.%I is %L', commented.view_name, commented.column_name, commented.description
        );
    end loop;
end
$block$;
