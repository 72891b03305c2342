"""Who is counted in a segment's week of the forecast."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import psycopg

from irt_analytics import db

#: A learner's growth in every week; a mean of some of them tells whose it is.
GROWTH = {"a": 0.001, "b": 0.01, "c": 0.1, "d": 1.0}
MONDAYS = [date(2026, 1, 5) + timedelta(weeks=week) for week in range(9)]
#: Clusterings by day: who is in the segment "improving".
CLUSTERINGS = {
    MONDAYS[1] + timedelta(days=2): {"a", "b"},
    MONDAYS[2] - timedelta(days=1): {"a", "c"},
    MONDAYS[2]: {"d"},
    MONDAYS[3] - timedelta(days=1): {"a", "d"},
}


def test_members_of_a_week_are_those_of_a_clustering_before_it(connection: psycopg.Connection[Any]) -> None:
    """By a later clustering "improving" are those whose last weeks went well: its series would rise whatever comes."""
    kpi = pd.DataFrame(
        [(user, i_t, monday, monday + timedelta(days=6)) for user, i_t in GROWTH.items() for monday in MONDAYS],
        columns=["user_id", "i_t", "week_start", "as_of"],
    ).assign(
        tenant_id="default",
        reconstructed=False,
        i_t_source="theta",
        i_t_raw=0.1,
        i_t_se=0.2,
        a_t_reason="not asked",
        e_t_reason="not asked",
        r_t_reason="not asked",
    )
    segments = pd.DataFrame(
        [(day, user) for day, members in CLUSTERINGS.items() for user in sorted(members)], columns=["as_of", "user_id"]
    ).assign(tenant_id="default", label="improving", cluster=0, membership=0.9, distance=1.0, run_id="by hand")
    segments["week_start"] = [day - timedelta(days=day.weekday()) for day in segments["as_of"]]
    db.ensure_partitions(connection, [*kpi["as_of"], *segments["as_of"]])
    db.copy_frame(connection, "weekly_kpi", kpi)
    db.copy_frame(connection, "user_segments", segments)
    found = db.read_frame(
        connection,
        "forecast/weeks",
        tenant_id="default",
        as_of=MONDAYS[-1] + timedelta(days=6),
        first_week=MONDAYS[0],
        last_week=MONDAYS[-1],
        min_answers=1,
        min_learners=1,
    )
    own = found[found["series"] == "improving"]
    # No clustering lies before weeks 0 and 1; that of week 2's eve holds for four weeks.
    members = {2: "ac", 3: "ad", 4: "ad", 5: "ad", 6: "ad"}
    expected = {MONDAYS[week]: sum(GROWTH[user] for user in who) / len(who) for week, who in members.items()}
    assert dict(zip(own["week_start"], own["value"].round(9), strict=True)) == expected
    assert found[found["series"] == "cohort"]["n_learners"].tolist() == [4] * len(MONDAYS)
