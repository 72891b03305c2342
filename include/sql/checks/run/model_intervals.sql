-- check: model intervals
-- expects: what the models of the day estimate lies within its interval
-- Those of risks and forecasts are held by constraints of their tables.
with estimates as (
    select
        'growth_learner' as table_name,
        learner.user_id || ': ' || line.name as estimate,
        line.lower,
        line.value,
        line.upper
    from growth_learner as learner
    cross join lateral (
        values
        ('slope', learner.slope_lower, learner.slope, learner.slope_upper),
        ('theta_now', learner.theta_now_lower, learner.theta_now, learner.theta_now_upper)
    ) as line (name, lower, value, upper)
    where learner.tenant_id = %(tenant_id)s and learner.as_of = %(as_of)s
    union all
    select
        'growth_brms_meta',
        parameter.term,
        parameter.lower,
        parameter.mean,
        parameter.upper
    from growth_brms_meta as fit
    cross join lateral jsonb_to_recordset(fit.population) as parameter (
        term text, lower float8, mean float8, upper float8
    )
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s
    union all
    select
        'growth_glmm_meta',
        effect.term,
        effect.lower,
        effect.estimate,
        effect.upper
    from growth_glmm_meta as fit
    cross join lateral jsonb_to_recordset(fit.fixed) as effect (
        term text, lower float8, estimate float8, upper float8
    )
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s
    union all
    select
        'survival_fit_meta',
        covariate.name,
        covariate.lower,
        covariate.hazard_ratio,
        covariate.upper
    from survival_fit_meta as fit
    cross join lateral jsonb_to_recordset(fit.covariates) as covariate (
        name text, lower float8, hazard_ratio float8, upper float8
    )
    where fit.tenant_id = %(tenant_id)s and fit.as_of = %(as_of)s
)

select *
from estimates
where value not between lower and upper
