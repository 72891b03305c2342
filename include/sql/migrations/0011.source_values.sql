-- depends: 0010.first_attempts
-- Reading values out of JSON. A value that is not what it should be becomes null, for check_attempts to count: one
-- malformed statement must not make a whole log unreadable.

create or replace function json_time(value text) returns timestamptz
language sql stable parallel safe
as $function$
select case
    when
        value !~ '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)$'
        or left(value, 4) = '0000'
        then null
    when
        substr(value, 9, 2)::int
        > extract(day from make_date(left(value, 4)::int, substr(value, 6, 2)::int, 1) + interval '1 month - 1 day')
        then null
    else value::timestamptz
end
$function$;

comment on function json_time(text) is 'An ISO 8601 time with its zone; null where the text is none.';

create or replace function json_milliseconds(duration text) returns int
language sql immutable parallel safe
as $function$
select case
    when duration ~ '^P(?=.)(\d{1,4}D)?(T(?=.)(\d{1,6}H)?(\d{1,8}M)?(\d{1,9}(\.\d+)?S)?)?$'
        then least(extract(epoch from duration::interval) * 1000, 2147483647)::int
end
$function$;

comment on function json_milliseconds(text) is 'An ISO 8601 duration of days or less in milliseconds; null where the text is none.';

create or replace function json_count(value text) returns int
language sql immutable parallel safe
as $function$
select case when value ~ '^-?\d{1,9}(\.0*)?$' then value::numeric::int end
$function$;

comment on function json_count(text) is 'A whole number of up to nine digits; null where the text is none.';

create or replace function json_flag(value text) returns boolean
language sql immutable parallel safe
as $function$
select case
    when lower(value) in ('true', 't', '1') then true
    when lower(value) in ('false', 'f', '0') then false
end
$function$;

comment on function json_flag(text) is 'true, t, 1 or false, f, 0 as a boolean; null where the text is none of them.';
