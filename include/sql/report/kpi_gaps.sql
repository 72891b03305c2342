-- One row a KPI and reason: learners of the day for whom it is null; kpi a_t_dropped counts learners by the term that
-- their A_t had to leave out.
with today as (
    select *
    from weekly_kpi
    where
        tenant_id = %(tenant_id)s
        and as_of = %(as_of)s
        and week_start = date_trunc('week', %(as_of)s::date::timestamp)
),

final as (
    select
        measure.kpi,
        measure.reason
    from today
    cross join lateral (
        values
        ('i_t', i_t_reason),
        ('a_t', a_t_reason),
        ('e_t', e_t_reason),
        ('r_t', r_t_reason)
    ) as measure (kpi, reason)
    union all
    select
        'a_t_dropped' as kpi,
        unnest(a_t_dropped) as reason
    from today
)

select
    kpi,
    reason,
    count(*) as n
from final
where reason is not null
group by kpi, reason
order by kpi, count(*) desc, reason collate "C"
