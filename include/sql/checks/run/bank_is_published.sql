-- check: bank is published
-- expects: every item of the day's published bank says since when it is published, at the latest since that day
select
    item.item_id,
    item.status,
    item.first_published_as_of
from mirt_fit_meta as fit
join mirt_item_params as item using (tenant_id, run_id)
where
    fit.tenant_id = %(tenant_id)s
    and fit.as_of = %(as_of)s
    and fit.published
    and (item.first_published_as_of is null or item.first_published_as_of > fit.as_of)
