-- One row a first attempt within [first_day, as_of]: its week (0 is the seven days that end with as_of, -1 those
-- before), its outcome (null: not evidence of ability) and, for an item of the bank, the log-odds of a right answer at
-- the mean ability, within +-30 so that they stay finite. In the order of learners and time.
create temporary table glmm_answer on commit drop as
with ability as (
    select latent_mean as mean
    from mirt_fit_meta
    where
        tenant_id = %(tenant_id)s
        and published
        and published_at_as_of <= %(as_of)s
    order by published_at_as_of desc, as_of desc
    limit 1
),

bank as (
    select
        bank.item_id,
        bank.median_time_ms,
        ln((bank.c + exp(least(greatest(bank.a * (ability.mean - bank.b), -30), 30))) / (1 - bank.c)) as log_odds_at_mean
    from published_items(%(tenant_id)s, %(as_of)s::date) as bank
    cross join ability
),

judged as (
    select
        first_attempt.*,
        bank.log_odds_at_mean,
        %(as_of)s::date - (first_attempt.completed_at at time zone 'UTC')::date as days_ago,
        coalesce(first_attempt.timed_out, false) as late,
        not coalesce(first_attempt.timed_out, false)
        and coalesce(first_attempt.response_time_ms < %(rapid_share)s * bank.median_time_ms, false) as rapid
    from first_attempts(%(tenant_id)s, %(first_day)s::date, %(as_of)s::date) as first_attempt
    left join bank using (item_id)
)

select
    student_id,
    item_id,
    topic_id,
    -(days_ago / 7) as week,
    late,
    rapid,
    case
        when not (late or rapid) then correct
        when %(invalid_answers)s = 'wrong' then false
    end as outcome,
    log_odds_at_mean,
    1 / (1 + exp(-log_odds_at_mean)) as p_at_mean,
    row_number() over (partition by student_id order by completed_at, item_id) as place
from judged
order by student_id collate "C", completed_at, item_id collate "C"
