-- One row, or none without an answer in the eight weeks up to as_of: a learner's A_t, E_t and R_t on that day, each with
-- the count behind it, from the answers alone. bank_start and bank_end are the calibration's window: an item's median
-- time is that of the first attempts in it.
with answer as (
    select
        item_id,
        correct,
        completed_at,
        (completed_at at time zone 'UTC')::date as day,
        coalesce(started_at, completed_at - response_time_ms * interval '1 millisecond') as began_at,
        response_time_ms,
        coalesce(hints, hint_used::int) as hints,
        session_id,
        timed_out
    from attempt
    where
        tenant_id = %(tenant)s
        and student_id = %(learner)s
        and (completed_at at time zone 'UTC')::date <= %(as_of)s
),

item_time as (
    select
        item_id,
        percentile_cont(0.5) within group (order by response_time_ms) as median_ms
    from attempt as first
    where
        tenant_id = %(tenant)s
        and (completed_at at time zone 'UTC')::date between %(bank_start)s and %(bank_end)s
        and response_time_ms is not null
        and timed_out is not true
        and not exists (
            select
            from attempt as earlier
            where
                earlier.tenant_id = first.tenant_id
                and earlier.student_id = first.student_id
                and earlier.item_id = first.item_id
                and earlier.completed_at < first.completed_at
        )
    group by item_id
),

judged as (
    select
        answer.*,
        ln(answer.response_time_ms / item_time.median_ms) as relative_time,
        answer.timed_out is not true and (answer.response_time_ms < 0.1 * item_time.median_ms) is not true as evidence
    from answer
    left join item_time using (item_id)
),

-- Four weeks, for A_t and R_t.
recent as (
    select *
    from judged
    where day > %(as_of)s - 28
),

-- Answers that open a stretch of work: nothing was answered in the half hour before they were begun.
opening as (
    select completed_at
    from recent
    where not exists (
        select
        from recent as earlier
        where
            earlier.completed_at < recent.completed_at
            and earlier.completed_at >= coalesce(recent.began_at, recent.completed_at) - interval '30 minutes'
    )
),

in_session as (
    select
        recent.*,
        coalesce(
            session_id,
            (select max(opening.completed_at)::text from opening where opening.completed_at <= recent.completed_at)
        ) as session
    from recent
),

session as (
    select
        session,
        min(completed_at) as opened_at,
        coalesce(min(began_at), min(completed_at)) as began_at,
        max(completed_at) as ended_at,
        case when count(*) > 1 or count(began_at) > 0
            then extract(epoch from max(completed_at) - coalesce(min(began_at), min(completed_at)))
        end as seconds
    from in_session
    group by session
),

gap as (
    select
        greatest(
            0,
            extract(
                epoch from lead(began_at, 1, (%(as_of)s + 1)::timestamp at time zone 'UTC') over (order by opened_at)
                - ended_at
            )
        ) / 86400 as days
    from session
),

term (weight, value) as (
    select 0.35, least(1, count(*) / 28.0) from session
    union all
    select 0.25, greatest(0, 1 - avg(days) / 7) from gap
    union all
    select 0.20, greatest(0, 1 - avg(hints) / 3) from recent having count(hints) > 0
    union all
    select 0.20, least(1, percentile_cont(0.5) within group (order by seconds) / 900)
    from session
    having count(seconds) > 0
),

activity as (
    select
        (select count(*) from session) as n,
        case when exists (select from session) then sum(weight * value) / sum(weight) else 0 end as value
    from term
),

timed as (
    select
        day > %(as_of)s - 28 as recent,
        relative_time
    from judged
    where
        day > %(as_of)s - 56
        and correct
        and evidence
        and relative_time is not null
        and not exists (
            select
            from answer as earlier
            where earlier.item_id = judged.item_id and earlier.completed_at < judged.completed_at
        )
),

efficiency as (
    select
        count(*) as n,
        case when count(*) filter (where recent) >= 15 and count(*) filter (where not recent) >= 15
            then greatest(
                -1,
                1 - exp(
                    percentile_cont(0.5) within group (order by relative_time) filter (where recent)
                    - percentile_cont(0.5) within group (order by relative_time) filter (where not recent)
                )
            )
        end as value
    from timed
),

try as (
    select
        item_id,
        correct,
        opened_at
    from in_session
    join session using (session)
    where evidence
),

tried_again as (
    select
        wrong.item_id,
        bool_or(again.correct) as resolved
    from try as wrong
    join try as again on again.item_id = wrong.item_id and again.opened_at > wrong.opened_at
    where not wrong.correct
    group by wrong.item_id
),

resolution as (
    select
        count(*) as n,
        avg(resolved::int)::float8 as share,
        1.959963984540054 ^ 2 / nullif(count(*), 0) as z2_n
    from tried_again
),

-- Wilson (1927).
wilson as (
    select
        n,
        case when n >= 5 then share end as value,
        case when n >= 5 then (share + z2_n / 2) / (1 + z2_n) end as centre,
        case when n >= 5 then sqrt(z2_n * (share * (1 - share) + z2_n / 4)) / (1 + z2_n) end as half_width
    from resolution
)

select
    activity.value as a_t,
    activity.n as a_t_n,
    efficiency.value as e_t,
    efficiency.n as e_t_n,
    wilson.value as r_t,
    wilson.centre - wilson.half_width as r_t_lower,
    wilson.centre + wilson.half_width as r_t_upper,
    wilson.n as r_t_n
from activity
cross join efficiency
cross join wilson
where exists (select from answer where day > %(as_of)s - 56)
