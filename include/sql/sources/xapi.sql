-- One row an answer: xAPI 1.0.3 statements with the verb "answered", one row of table xapi_statement a statement.
--
-- xapi_statement(statement jsonb)
--
-- Learner: the actor's account (home page and name), else mbox, mbox_sha1sum or openid. Item: the object's id. Topic:
-- the first parent activity, else the first grouping activity. Session: the registration. Voided statements are left
-- out. xAPI has no field for hints, starts or time-outs.
with statements as (
    select
        statement,
        statement -> 'actor' as actor,
        statement -> 'context' -> 'contextActivities' as activities,
        statement -> 'verb' ->> 'id' as verb
    from xapi_statement
),

voided as (
    select statement -> 'object' ->> 'id' as statement_id
    from statements
    where
        verb = 'http://adlnet.gov/expapi/verbs/voided'
        and statement -> 'object' ->> 'objectType' = 'StatementRef'
),

answers as (
    select *
    from statements
    where
        verb = 'http://adlnet.gov/expapi/verbs/answered'
        and not exists (select from voided where voided.statement_id = statements.statement ->> 'id')
)

select
    'default'::text as tenant_id,
    coalesce(
        rtrim(actor -> 'account' ->> 'homePage', '/') || '/' || (actor -> 'account' ->> 'name'),
        actor ->> 'mbox',
        actor ->> 'mbox_sha1sum',
        actor ->> 'openid'
    ) as student_id,
    statement -> 'object' ->> 'id' as item_id,
    coalesce(
        activities -> 'parent' -> 0 ->> 'id',
        activities -> 'parent' ->> 'id',
        activities -> 'grouping' -> 0 ->> 'id',
        activities -> 'grouping' ->> 'id'
    ) as topic_id,
    json_flag(statement -> 'result' ->> 'success') as correct,
    json_time(coalesce(statement ->> 'timestamp', statement ->> 'stored')) as completed_at,
    null::timestamptz as started_at,
    json_milliseconds(statement -> 'result' ->> 'duration') as response_time_ms,
    null::boolean as hint_used,
    null::int as hints,
    null::int as attempt_no,
    statement -> 'context' ->> 'registration' as session_id,
    null::boolean as timed_out
from answers
