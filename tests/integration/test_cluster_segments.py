"""Segments in the database: what a run writes, keeps, and says when it cannot tell learners apart."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.test_compute_daily_kpis import publish, true_bank, write_answers

from irt_analytics import db
from irt_analytics.jobs import cluster_segments, compute_daily_kpis
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, JobContext, JobRecord, run_job
from irt_analytics.settings import Settings
from irt_analytics.simulate import Cohort, simulate_cohort

LAST_DAY = date(2026, 3, 4)
WEEK_BEFORE = LAST_DAY - timedelta(7)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(500, 300, 20, 14, seed=5, as_of=LAST_DAY)


def run(settings: Settings, job: Job, as_of: date, tenant: str = "default", **params: Any) -> None:
    assert run_job(job, tenant=tenant, as_of=as_of, params=RunParams(**params), settings=settings) == 0


def prepare(settings: Settings, cohort: Cohort, days: tuple[date, ...], tenant: str = "default") -> None:
    """A tenant's log, bank, abilities and KPIs as the jobs before leave them; abilities are the planted ones."""
    write_answers(settings, cohort.attempts, tenant)
    publish(settings, true_bank(cohort), min(days), tenant)
    with db.connect(settings) as connection:
        for day in days:
            db.ensure_partitions(connection, [day])
            ability = cohort.truth.theta_on(day).rename_axis("user_id").reset_index(name="theta")
            ability = ability.assign(tenant_id=tenant, as_of=day, se=0.4, n_responses=30, method="EAP", run_id="run")
            db.copy_frame(connection, "mirt_ability", ability)
        connection.commit()
    for day in days:
        run(settings, compute_daily_kpis.JOB, day, tenant)


def read(settings: Settings, query: str, **values: Any) -> pd.DataFrame:
    with db.connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        assert cursor.description is not None
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def test_segments_are_those_planted_and_keep_their_names(settings: Settings, cohort: Cohort) -> None:
    prepare(settings, cohort, (WEEK_BEFORE, LAST_DAY))
    run(settings, cluster_segments.JOB, WEEK_BEFORE)
    run(settings, cluster_segments.JOB, LAST_DAY)
    meta = read(settings, "select * from segment_meta order by as_of")
    assert meta["status"].tolist() == ["success", "success"]
    assert meta["matched_to_run_id"].isna().tolist() == [True, False]
    assert meta["matched_to_run_id"][1] == meta["run_id"][0]
    assert (meta["jaccard_mean"] >= 0.6).all()
    found = read(settings, "select * from user_segments where as_of = %(day)s", day=LAST_DAY)
    assert len(found) == meta["n_learners"][1]
    assert found["membership"].between(1 / meta["k"][1], 1).all()
    assert len(set(found["label"])) == meta["k"][1] >= 3

    planted = cohort.truth.learners.set_index("student_id")["segment"]
    own = planted.reindex(found["user_id"]).to_numpy()
    for label in set(found["label"]) & {"short_frequent", "long_rare", "hint_heavy"}:
        assert (own[found["label"] == label] == label).mean() > 0.6, label

    before = read(settings, "select user_id, label from user_segments where as_of = %(day)s", day=WEEK_BEFORE)
    both = before.merge(found, on="user_id", suffixes=("_before", ""))
    # A sixth segment may split off an old one; a name that was there before must still mean the same learners.
    kept = both[both["label"].isin(set(both["label_before"]))]
    assert len(kept) > len(both) / 2
    assert (kept["label_before"] == kept["label"]).mean() > 0.8


def test_reruns_tenants_and_later_jobs_columns_change_nothing(settings: Settings, cohort: Cohort) -> None:
    """Segments never read S or P: a circle through the churn model would confirm itself."""
    prepare(settings, cohort, (LAST_DAY,))
    run(settings, cluster_segments.JOB, LAST_DAY)
    query = "select * from user_segments where tenant_id = 'default' order by user_id"
    meta_query = "select * from segment_meta where tenant_id = 'default'"
    first, first_meta = read(settings, query), read(settings, meta_query)
    other = simulate_cohort(500, 300, 20, 14, seed=6, as_of=LAST_DAY)
    prepare(settings, other, (LAST_DAY,), "other")
    run(settings, cluster_segments.JOB, LAST_DAY, "other")
    with db.connect(settings) as connection:
        connection.execute(
            """
            update weekly_kpi
            set s = 0.9, s_n = 4, s_source = 'later', p = 0.1, p_n = 4, p_source = 'later', sigma = 0.5,
                sigma_source = 'later'
            where tenant_id = 'default'
            """
        )
        connection.commit()
    run(settings, cluster_segments.JOB, LAST_DAY, report_lang="ko", shards=4)
    pd.testing.assert_frame_equal(read(settings, query), first, check_exact=True)
    pd.testing.assert_frame_equal(read(settings, meta_query), first_meta, check_exact=True)


def test_features_are_what_the_log_says(settings: Settings, cohort: Cohort) -> None:
    """Habits of every learner once more, by pandas from the log."""
    prepare(settings, cohort, (LAST_DAY,))
    with db.connect(settings) as connection:
        context = JobContext("default", LAST_DAY, RunParams(), settings, connection, JobRecord(), None)
        first_day = LAST_DAY - timedelta(83)
        cluster_segments._prepare(context, first_day)
        found = db.read_frame(
            connection, "segments/learners", tenant_id="default", as_of=LAST_DAY, first_day=first_day
        ).set_index("user_id")
    log = cohort.attempts.assign(day=cohort.attempts["completed_at"].dt.date)
    log = log[log["day"] >= first_day]
    by_learner = log.groupby("student_id")
    last = by_learner["day"].max()
    expected = pd.DataFrame(
        {
            "sessions": by_learner["session_id"].nunique(),
            "answers": by_learner.size(),
            "hints_per_answer": by_learner["hints"].mean(),
        }
    )[last > LAST_DAY - timedelta(28)]
    weeks = [(LAST_DAY - day).days / 7 + 1 / 7 for day in by_learner["day"].min().reindex(expected.index)]
    expected["sessions_per_week"] = expected["sessions"] / np.maximum(1, weeks)
    expected["answers_per_session"] = expected["answers"] / expected["sessions"]
    assert set(found.index) == set(expected.index)
    for column in expected:
        assert found[column].astype(float).reindex(expected.index).to_numpy() == pytest.approx(
            expected[column].to_numpy()
        )
    kpis = read(settings, "select user_id, week_start, i_t, i_t_source, a_t from weekly_kpi")
    kpis = kpis[kpis["week_start"] >= first_day - timedelta(first_day.weekday())]
    means = kpis.astype({"i_t": float, "a_t": float}).groupby("user_id")[["i_t", "a_t"]].mean().reindex(found.index)
    assert set(kpis["i_t_source"].dropna()) == {"theta"}
    for column in ("i_t", "a_t"):
        values = found[column].astype("float64").to_numpy(dtype=float, na_value=np.nan)
        assert values == pytest.approx(means[column].to_numpy(), nan_ok=True)


def test_too_few_learners_are_a_recorded_skip_that_takes_earlier_rows_away(settings: Settings, cohort: Cohort) -> None:
    prepare(settings, cohort, (LAST_DAY,))
    run(settings, cluster_segments.JOB, LAST_DAY)
    assert len(read(settings, "select * from user_segments")) > 100
    with db.connect(settings) as connection:
        connection.execute("delete from attempt_log where student_id > 'learner-040'")
        connection.commit()
    run(settings, cluster_segments.JOB, LAST_DAY)
    assert read(settings, "select * from user_segments").empty
    meta = read(settings, "select status, reason, k from segment_meta")
    jobs = read(settings, "select status, reason from job_run where job = 'cluster_segments' order by job_run_id")
    assert meta["status"].tolist() == ["skipped"]
    assert "segments need 40" in meta["reason"][0]
    assert jobs["status"].tolist() == ["success", "skipped"]
    assert jobs["reason"][1] == meta["reason"][0]


def test_a_platform_without_hints_or_times_still_has_segments(settings: Settings, cohort: Cohort) -> None:
    bare = cohort.attempts.drop(columns=["hints", "hint_used", "response_time_ms", "started_at"])
    prepare(settings, Cohort(bare, cohort.questions, cohort.goals, cohort.truth), (LAST_DAY,))
    run(settings, cluster_segments.JOB, LAST_DAY)
    meta = read(settings, "select * from segment_meta").iloc[0]
    assert set(meta["features"]["left_out"]) == {"e_t", "hints_per_answer", "relative_time"}
    if meta["status"] == "success":
        assert "hint_heavy" not in meta["labels"]


def test_a_learner_of_whom_little_is_known_is_in_no_segment_and_counted_in_none(
    settings: Settings, cohort: Cohort
) -> None:
    """`verify` would call sound segments broken: it holds their sizes against the learners clustered."""
    bare = cohort.attempts.drop(columns=["hints", "hint_used"])
    stranger = cohort.attempts["student_id"].iloc[-1]
    bare.loc[bare["student_id"] == stranger, ["response_time_ms", "started_at"]] = None
    prepare(settings, Cohort(bare, cohort.questions, cohort.goals, cohort.truth), (LAST_DAY,))
    with db.connect(settings) as connection:
        connection.execute("delete from mirt_ability where user_id = %s", [stranger])
        connection.execute(
            "update weekly_kpi set i_t = null, i_t_reason = 'none', e_t = null, e_t_reason = 'none', r_t = null,"
            " r_t_reason = 'none' where user_id = %s",
            [stranger],
        )
        connection.commit()
    run(settings, cluster_segments.JOB, LAST_DAY)
    found = read(settings, "select user_id, label from user_segments")
    assert stranger not in set(found["user_id"])
    meta = read(settings, "select status, n_learners from segment_meta").iloc[0]
    assert (meta["status"], meta["n_learners"]) == ("success", len(found))
    (exclusions,) = read(settings, "select exclusions from job_run where job = 'cluster_segments'")["exclusions"]
    assert {each["reason"]: each["count"] for each in exclusions}["learners without half of the features"] == 1
    with db.connect(settings) as connection:
        assert db.read_frame(
            connection, "checks/run/segments_of_the_clustered", tenant_id="default", as_of=LAST_DAY
        ).empty
