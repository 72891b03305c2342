-- One row a learner asked for and week: theta from that week's own first attempts.
select distinct on (user_id, week_start)
    user_id,
    week_start,
    m,
    s,
    n
from student_week_theta
where
    tenant_id = %(tenant_id)s
    and as_of between %(first_week)s and %(as_of)s
    and week_start between %(first_week)s and %(as_of)s
    and user_id = any(%(user_ids)s)
order by user_id, week_start, (as_of < week_start + 6), reconstructed, as_of desc
