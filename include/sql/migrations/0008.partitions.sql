-- depends: 0007.reports
-- A month's partitions. Made as tables of their own and then attached: unlike `create table ... partition of`, that
-- leaves readers and writers of the other months undisturbed while the caller's transaction is open. Where the
-- partitions exist, nothing is locked; where they do not, callers go one after another.
create or replace function ensure_partitions(month date) returns void
language plpgsql
as $function$
declare
    first_day constant date := date_trunc('month', month::timestamp)::date;
    next_month constant date := (first_day + interval '1 month')::date;
    parent text;
    partition text;
begin
    foreach parent in array array[
        'mirt_ability', 'student_week_theta', 'student_topic_theta', 'features_topic_daily', 'weekly_kpi', 'user_segments'
    ] loop
        partition := parent || to_char(first_day, '_YYYY_MM');
        continue when to_regclass(quote_ident(partition)) is not null;
        perform pg_advisory_xact_lock(hashtextextended('irt_analytics/ensure_partitions', 0));
        -- Attaching takes this lock anyway; taken here it also makes the session learn of partitions committed since.
        execute format('lock table %I in share update exclusive mode', parent);
        continue when to_regclass(quote_ident(partition)) is not null;
        execute format('create table %I (like %I including all)', partition, parent);
        execute format(
            'alter table %I attach partition %I for values from (%L) to (%L)', parent, partition, first_day, next_month
        );
        execute format('comment on table %I is %L', partition, to_char(first_day, 'YYYY-MM') || ' of ' || parent || '.');
    end loop;
end
$function$;

comment on function ensure_partitions(date) is 'Creates the partitions of a day''s month where they are missing. Safe when called twice at once.';
