"""Which of a week's rows the jobs read, where no run was made on its Sunday and a later one reconstructed it."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import psycopg
import pytest

from irt_analytics import db

MONDAY = date(2026, 1, 5)
AS_OF = MONDAY + timedelta(days=8)
#: as_of of the runs and what each says: the last live one on a Saturday, its reconstruction, and one still to come.
SATURDAY, NEXT_MONDAY, LATER = MONDAY + timedelta(days=5), MONDAY + timedelta(days=7), AS_OF + timedelta(days=1)
SAID = {SATURDAY: 0.25, NEXT_MONDAY: 0.75, LATER: 0.5}
WHOLE = SAID[NEXT_MONDAY]

#: What the statement is asked, and its column with what the run said.
READERS: dict[str, tuple[dict[str, Any], str]] = {
    "growth/weeks": ({"first_week": MONDAY}, "y"),
    "forecast/weeks": ({"first_week": MONDAY, "last_week": MONDAY, "min_answers": 1, "min_learners": 1}, "value"),
    "segments/learners": ({"first_day": MONDAY}, "a_t"),
    "report/theta_weeks": ({"first_week": MONDAY, "min_answers": 1}, "mean"),
    "report/learner_weeks": ({"first_week": MONDAY, "user_ids": ["u"]}, "m"),
    "report/kpi_weeks": ({"first_week": MONDAY}, "median"),
    "report/growth_weeks": ({"first_week": MONDAY}, "m"),
    "report/flagged": ({"day": SATURDAY, "errors_stay_below": 0.9}, "r_t"),
}


@pytest.fixture
def planted(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """One learner and week, a row a run that says something of it."""
    rows = pd.DataFrame({"as_of": list(SAID), "said": list(SAID.values())}).assign(
        tenant_id="default", user_id="u", week_start=MONDAY, reconstructed=[False, True, True]
    )
    said = rows.pop("said")
    db.ensure_partitions(connection, list(SAID))
    theta = rows.assign(m=said, s=0.5, v=1 / 3, y=said, mu0=0.0, sd0=1.0, n=5, run_id="by hand")
    db.copy_frame(connection, "student_week_theta", theta)
    values: dict[str, Any] = {
        f"{kpi}{part}": said for kpi in ("i_t", "a_t", "e_t", "r_t") for part in ("", "_lower", "_upper")
    }
    values |= {f"{kpi}_source": "theta" for kpi in ("i_t", "a_t", "e_t", "r_t")}
    values |= {"i_t_raw": said, "i_t_se": 0.2, "i_t_m": said, "i_t_tau": 0.3}
    db.copy_frame(connection, "weekly_kpi", rows.assign(**values))
    connection.execute(
        """
        create temporary table kpi_learner on commit drop as select 1 as learner, 'u' as user_id;
        create temporary table kpi_session_day on commit drop as
        select 1 as learner, 1 as session_no, date '2026-01-10' as day, 5 as answers, 0 as hint_answers, 0 as hints;
        create temporary table segment_speed on commit drop as select 1 as learner, 1.0::float8 as relative_time
        """
    )
    return connection


@pytest.mark.parametrize("reader", READERS)
def test_a_week_s_reconstruction_stands_before_a_live_row_that_saw_part_of_it(
    planted: psycopg.Connection[Any], reader: str
) -> None:
    """A missed Sunday would leave a bend in every trend for good; and nothing a later run wrote may enter."""
    asked, column = READERS[reader]
    read = db.read_frame(planted, reader, tenant_id="default", as_of=AS_OF, **asked)
    if reader == "report/kpi_weeks":
        read = read[read["n"] > 0]
    assert len(read) > 0
    assert read[column].astype(float).tolist() == pytest.approx([WHOLE] * len(read))
