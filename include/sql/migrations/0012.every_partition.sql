-- depends: 0011.source_values
-- As before, and for every table that is partitioned by a day, so that a table to come needs no list.
create or replace function ensure_partitions(month date) returns void
language plpgsql
as $function$
declare
    first_day constant date := date_trunc('month', month::timestamp)::date;
    next_month constant date := (first_day + interval '1 month')::date;
    parent text;
    partition text;
begin
    for parent in
        select pg_class.relname
        from pg_partitioned_table
        join pg_class on pg_class.oid = pg_partitioned_table.partrelid
        where pg_class.relnamespace = current_schema()::regnamespace
        order by pg_class.relname
    loop
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
