-- One row a tenth of P (0: under 0.1, 9: 0.9 and more) of the day that holds a learner, for goals and for slopes.
select
    p_kind as kind,
    least(floor(p * 10), 9)::int as tenth,
    count(*) as n
from growth_learner
where tenant_id = %(tenant_id)s and as_of = %(as_of)s and p is not null
group by kind, tenth
order by kind, tenth
