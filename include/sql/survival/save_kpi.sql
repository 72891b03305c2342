-- Writes s of every learner of the day's week, null with the reason where the day has no risk for the learner.
update weekly_kpi
set
    s = risk.risk,
    s_lower = risk.risk_lower,
    s_upper = risk.risk_upper,
    s_n = coalesce(risk.n_answers, 0),
    s_source = case when risk.risk is not null then 'landmark Cox model' end,
    s_reason = case when risk.risk is null then coalesce(%(reason)s, 'no answer in the four weeks before') end
from weekly_kpi as row
left join survival_risk as risk
    on risk.tenant_id = row.tenant_id and risk.user_id = row.user_id and risk.as_of = row.as_of
where
    row.tenant_id = %(tenant_id)s
    and row.as_of = %(as_of)s
    and row.week_start = date_trunc('week', %(as_of)s::date::timestamp)::date
    and weekly_kpi.tenant_id = row.tenant_id
    and weekly_kpi.as_of = row.as_of
    and weekly_kpi.week_start = row.week_start
    and weekly_kpi.user_id = row.user_id
