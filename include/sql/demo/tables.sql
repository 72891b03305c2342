-- One row a table that holds rows of a tenant.
select relation.relname as table_name
from pg_class as relation
join pg_attribute as tenant_column
    on tenant_column.attrelid = relation.oid
    and tenant_column.attname = 'tenant_id'
    and not tenant_column.attisdropped
where
    relation.relkind in ('r', 'p')
    and not relation.relispartition
    and relation.relnamespace = current_schema()::regnamespace
order by relation.relname
