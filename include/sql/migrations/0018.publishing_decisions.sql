-- depends: 0017.anchor_references
-- What people decided about publishing; and the bank in force with all that is known of its items.
create table publishing_decision (
    tenant_id text not null default 'default',
    decision_id bigint generated always as identity,
    run_id text not null,
    as_of date not null,
    decision text not null,
    replaced_run_id text,
    reason text not null,
    decided_by text not null,
    db_user text not null default session_user,
    code_version text not null,
    decided_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, decision_id),
    constraint publishing_decision_decision check (decision in ('publish', 'withdraw')),
    constraint publishing_decision_replaced check (decision = 'publish' or replaced_run_id is null),
    constraint publishing_decision_reason check (btrim(reason) <> ''),
    constraint publishing_decision_decided_by check (btrim(decided_by) <> '')
);

create index publishing_decision_by_day on publishing_decision (tenant_id, as_of, decision_id);

comment on table publishing_decision is 'One row a calibration that a person published or withdrew. Rows are only added.';
comment on column publishing_decision.tenant_id is 'Whose calibration it is.';
comment on column publishing_decision.decision_id is 'Number of the decision; later ones are greater.';
comment on column publishing_decision.run_id is 'Calibration.';
comment on column publishing_decision.as_of is 'Its day. From now on people, not the daily job, publish calibrations of that day.';
comment on column publishing_decision.decision is 'publish or withdraw.';
comment on column publishing_decision.replaced_run_id is 'Calibration of the same day that was published until then; null where there was none.';
comment on column publishing_decision.reason is 'Why, in the words of who decided.';
comment on column publishing_decision.decided_by is 'Who decided: the name given, or the user of the operating system.';
comment on column publishing_decision.db_user is 'Role that was logged in to the database.';
comment on column publishing_decision.code_version is 'Version of the pipeline.';
comment on column publishing_decision.decided_at is 'When.';

create function refuse_change() returns trigger
language plpgsql
as $function$
begin
    raise exception 'rows of % are only added', tg_table_name using errcode = 'restrict_violation';
end
$function$;

comment on function refuse_change() is 'Trigger of tables whose rows are only added.';

create trigger publishing_decision_is_kept
before update or delete or truncate on publishing_decision
for each statement execute function refuse_change();

-- One row an item of the newest published calibration; the columns since 0017 stand last, for a view's keep their place.
create or replace view mirt_item_params_current as
with newest as (
    select distinct on (tenant_id)
        tenant_id,
        run_id,
        as_of,
        model,
        latent_mean,
        latent_sd
    from mirt_fit_meta
    where published
    order by tenant_id, published_at_as_of desc, as_of desc
)

select
    item.tenant_id,
    item.run_id,
    item.item_id,
    item.topic_id,
    item.a,
    item.b,
    item.c,
    item.se_a,
    item.se_b,
    item.se_c,
    item.n_responses,
    item.p_value,
    item.infit,
    item.outfit,
    item.median_time_ms,
    item.anchor,
    item.drift_statistic,
    item.drift_p_value,
    item.drifted,
    item.status,
    item.first_published_as_of,
    newest.as_of,
    newest.model,
    newest.latent_mean,
    newest.latent_sd,
    item.cov_ab,
    item.cov_ac,
    item.cov_bc,
    item.reference_as_of
from newest
join mirt_item_params as item
    on item.tenant_id = newest.tenant_id and item.run_id = newest.run_id;

comment on column mirt_item_params_current.cov_ab is 'Covariance of the errors of a and b; null where one of them was fixed.';
comment on column mirt_item_params_current.cov_ac is 'Covariance of the errors of a and c; null where one of them was fixed.';
comment on column mirt_item_params_current.cov_bc is 'Covariance of the errors of b and c; null where one of them was fixed.';
comment on column mirt_item_params_current.reference_as_of is 'Day whose published parameters of this item are those that later calibrations link to: the first as estimated, or that of its last drift.';

comment on column mirt_fit_meta.published_at_as_of is 'as_of of the run that published them, or of the calibration where a person did; null where unpublished.';
comment on column mirt_fit_meta.reason is 'Why the run was not published, or was withdrawn; who published it by hand, and why.';
