-- One row a file that an earlier run of the day registered in the language.
select url
from report_artifacts
where tenant_id = %(tenant_id)s and as_of = %(as_of)s and lang = %(lang)s
order by url
