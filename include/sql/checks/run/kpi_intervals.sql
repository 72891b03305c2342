-- check: KPI intervals
-- expects: a KPI lies within its interval (I_t and E_t unless clamped) and rests on the answers its definition asks for
select
    user_id,
    week_start,
    i_t,
    i_t_lower,
    i_t_upper,
    i_t_n,
    a_t,
    a_t_lower,
    a_t_upper,
    e_t,
    e_t_lower,
    e_t_upper,
    e_t_n,
    r_t,
    r_t_lower,
    r_t_upper,
    r_t_n
from weekly_kpi
where
    tenant_id = %(tenant_id)s
    and as_of = %(as_of)s
    and (
        (abs(i_t) < 1 and i_t not between i_t_lower and i_t_upper)
        or (a_t not between a_t_lower and a_t_upper)
        or (abs(e_t) < 1 and e_t not between e_t_lower and e_t_upper)
        or (r_t not between r_t_lower and r_t_upper)
        or (i_t is not null and i_t_n < 10)
        or (e_t is not null and e_t_n < 30)
        or (r_t is not null and r_t_n < 5)
    )
