-- One row a file of the day's cohort report, as pages first.
select url
from report_artifacts
where tenant_id = %(tenant_id)s and as_of = %(as_of)s and scope = 'cohort' and format in ('html', 'pdf')
order by format, lang, url
