-- depends: 0022.ties
-- The rows of a day are written one after another, so that a block range index finds them, and costs a tenth of a tree:
-- the writing of these tables is what the first day of a large log waits for.
drop index student_week_theta_by_day;

drop index student_topic_theta_by_day;

drop index weekly_kpi_by_day;

create index student_week_theta_by_day on student_week_theta
using brin (tenant_id, as_of);

create index student_topic_theta_by_day on student_topic_theta
using brin (tenant_id, as_of);

create index weekly_kpi_by_day on weekly_kpi
using brin (tenant_id, as_of);

comment on column job_part.name is 'Table or frame that its rows are of; counts: numbers for job_run.';
comment on column job_part.content is 'Piece of a binary COPY stream of a table, or of an Arrow stream of a frame.';
