-- check: weekly theta likelihood
-- expects: v = 1 / (1/s^2 - 1/sd0^2) and y = v (m/s^2 - mu0/sd0^2)
with recomputed as (
    select
        user_id,
        week_start,
        v,
        y,
        1 / (1 / s ^ 2 - 1 / sd0 ^ 2) as v_expected,
        (m / s ^ 2 - mu0 / sd0 ^ 2) / (1 / s ^ 2 - 1 / sd0 ^ 2) as y_expected
    from student_week_theta
    where tenant_id = %(tenant_id)s and as_of = %(as_of)s and s < sd0
)

select *
from recomputed
where
    abs(v - v_expected) > 1e-6 * v_expected
    or abs(y - y_expected) > 1e-6 * (1 + abs(y_expected))
