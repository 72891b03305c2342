-- One row a learner, session and UTC day: the part of the session that falls on the day, so that windows of whole days
-- never see what came after them. session_no orders a learner's sessions by their first answer. began_at: null where it
-- cannot be known.
create temporary table kpi_session_day (
    learner int not null,
    session_no int not null,
    day date not null,
    derived boolean not null,
    began_at timestamptz,
    first_completed_at timestamptz not null,
    ended_at timestamptz not null,
    answers int not null,
    hint_answers int not null,
    hints int not null,
    squared_hints bigint not null
) on commit drop
