-- One row a learner and week of those asked for: ability by the week's own first attempts as the newest run up to as_of
-- has it. Of a week's rows: one that saw the week whole, of those a live one, and then the newest.
select distinct on (user_id, week_start)
    user_id,
    week_start,
    y,
    v,
    n
from student_week_theta
where
    tenant_id = %(tenant_id)s
    and as_of between %(first_week)s and %(as_of)s
    and week_start between %(first_week)s and %(as_of)s
order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
