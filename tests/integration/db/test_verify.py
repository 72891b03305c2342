"""`irt_analytics verify`: a sound run passes, and each kind of damage is found and shown."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from irt_analytics import db
from irt_analytics.settings import Settings
from irt_analytics.verify import verify

FIXTURES = Path(__file__).parents[2] / "fixtures"
AS_OF = date(2026, 1, 7)  # a Wednesday; its Monday is the 5th

#: What damages the run, by the check that has to find it, with a part of the row it shows.
DAMAGE = [
    ("jobs ended well", "delete from report_artifacts; delete from job_run", {"status": "never run"}),
    (
        "jobs ended well",
        "insert into job_run (job, as_of, status, code_version, finished_at, error) "
        "values ('cluster_segments', '2026-01-07', 'failed', '3', now(), 'boom')",
        {"job": "cluster_segments", "error": "boom"},
    ),
    (
        "windows end at as_of",
        "update mirt_fit_meta set window_end = '2026-01-06' where run_id = 'new'",
        {"window_end": date(2026, 1, 6)},
    ),
    ("bank keeps its items", "delete from mirt_item_params where run_id = 'new' and item_id = 'q2'", {"item_id": "q2"}),
    (
        "bank keeps its items",
        "update mirt_item_params set b = 0.21 where run_id = 'new' and item_id = 'q2'",
        {"b": 0.21},
    ),
    (
        "bank is published",
        "update mirt_item_params set first_published_as_of = null where run_id = 'new' and item_id = 'q1'",
        {"item_id": "q1"},
    ),
    ("calibration sums", "update mirt_fit_meta set n_responses = 1 where run_id = 'new'", {"new_responses": 2}),
    ("calibration sums", "update mirt_fit_meta set n_persons = 3 where run_id = 'new'", {"learners_with_abilities": 2}),
    ("quality of items", "update mirt_item_fit set p_adjusted = 0.01", {"n_items_misfitting": 1, "said_misfitting": 0}),
    ("quality of items", "update mirt_item_fit set n_responses = 3", {"n_curves_off": 1}),
    ("quality of items", "delete from mirt_item_fit", {"n_items_tested": 0, "said_tested": 1}),
    (
        "runs exist",
        "update student_topic_theta set run_id = 'gone'",
        {"table_name": "student_topic_theta", "run_id": "gone"},
    ),
    ("runs exist", "update user_segments set run_id = 'gone'", {"table_name": "user_segments"}),
    ("runs exist", "update survival_risk set run_id = 'gone'", {"table_name": "survival_risk", "run_id": "gone"}),
    (
        "runs exist",
        "update growth_brms_meta set status = 'skipped', reason = 'few'",
        {"table_name": "growth_learner", "run_id": "brms"},
    ),
    ("runs exist", "update prophet_fit_meta set as_of = '2026-01-06'", {"table_name": "prophet_forecast"}),
    ("runs exist", "update prophet_fit_meta set as_of = '2026-01-06'", {"table_name": "prophet_anomalies"}),
    ("runs exist", "update report_artifacts set job_run_id = null", {"table_name": "report_artifacts"}),
    (
        "abilities rest on answers",
        "update mirt_ability set n_responses = 2 where user_id = 'u2'",
        {"first_attempts": 1},
    ),
    ("weekly theta rests on answers", "update student_week_theta set n = 3", {"n": 3, "first_attempts": 2}),
    ("weekly theta likelihood", "update student_week_theta set y = y + 0.01", {"user_id": "u1"}),
    (
        "topic theta rests on answers",
        "update student_topic_theta set user_id = 'later' where topic_id = 't1'",
        {"user_id": "later", "first_attempts": 0},
    ),
    ("topic theta rests on answers", "update student_topic_theta set tau = 0.8 where topic_id = 't1'", {"tau": 0.8}),
    (
        "features agree with the log",
        "delete from features_topic_daily where date = '2026-01-06'",
        {"date": date(2026, 1, 6), "attempts": None, "attempts_in_log": 1},
    ),
    (
        "features agree with the log",
        "update features_topic_daily set first_attempts = 2 where user_id = 'u2'",
        {"first_attempts": 3, "first_attempts_in_log": 2},
    ),
    (
        "features carry the day's theta",
        "update features_topic_daily set theta_source = 'mirt_ability' where topic_id = 't2'",
        {"topic_id": "t2"},
    ),
    ("KPIs of every active learner", "delete from weekly_kpi where user_id = 'u2'", {"problem": "has no row"}),
    (
        "KPIs of every active learner",
        "update weekly_kpi set user_id = 'later' where user_id = 'u2'",
        {"user_id": "later", "problem": "has a row without an answer"},
    ),
    ("KPI intervals", "update weekly_kpi set r_t = 0.9 where user_id = 'u1'", {"r_t": 0.9}),
    ("KPI intervals", "update weekly_kpi set r_t_n = 4 where user_id = 'u1'", {"r_t_n": 4}),
    (
        "past weeks have KPIs",
        "insert into attempt_log (student_id, item_id, topic_id, correct, completed_at) "
        "values ('u1', 'q2', 't2', true, '2026-01-04 10:00:00+00')",
        {"week_start": date(2025, 12, 29)},
    ),
    ("segments of the clustered", "update segment_meta set n_learners = 2", {"expected": "2", "found": "1"}),
    ("segments of the clustered", "update user_segments set cluster = 1", {"problem": "cluster of u1"}),
    ("segments of the clustered", "update user_segments set user_id = 'u9'", {"problem": "KPI row of u9"}),
    ("risks of the active", "delete from survival_risk where user_id = 'u2'", {"user_id": "u2", "answers_in_log": 2}),
    ("risks of the active", "update survival_risk set n_answers = 3 where user_id = 'u1'", {"n_answers": 3}),
    (
        "risks of the active",
        "update survival_risk set user_id = 'later' where user_id = 'u2'",
        {"user_id": "later", "answers_in_log": None},
    ),
    ("KPIs carry S", "update weekly_kpi set s = 0.31 where user_id = 'u1'", {"s": 0.31, "risk": 0.3}),
    ("KPIs carry S", "update weekly_kpi set s_lower = 0.2 where user_id = 'u1'", {"s_lower": 0.2, "risk_lower": 0.1}),
    ("KPIs carry S", "update weekly_kpi set s_n = 1 where user_id = 'u1'", {"s_n": 1, "n_answers": 2}),
    ("KPIs carry S", "delete from survival_risk where user_id = 'u2'", {"s": 0.7, "risk": None}),
    ("KPIs carry S", "delete from weekly_kpi where user_id = 'u2'", {"user_id": "u2", "has_kpi_row": False}),
    (
        "KPIs carry S",
        "delete from survival_risk; update weekly_kpi set s = null, s_lower = null, s_upper = null",
        {"user_id": "u1", "s_reason": None},
    ),
    ("KPIs carry P and sigma", "update weekly_kpi set p = 0.66 where user_id = 'u1'", {"p": 0.66, "growth_p": 0.65}),
    ("KPIs carry P and sigma", "update weekly_kpi set p_source = 'goal' where user_id = 'u1'", {"p_source": "goal"}),
    ("KPIs carry P and sigma", "update weekly_kpi set sigma = 0.5 where user_id = 'u1'", {"growth_sigma": 0.05}),
    ("KPIs carry P and sigma", "update weekly_kpi set p_n = 2 where user_id = 'u1'", {"p_n": 2, "n_weeks": 1}),
    ("KPIs carry P and sigma", "delete from growth_learner", {"p": 0.65, "growth_p": None}),
    ("KPIs carry P and sigma", "delete from weekly_kpi where user_id = 'u1'", {"has_kpi_row": False}),
    ("KPIs carry P and sigma", "update weekly_kpi set p_reason = null where user_id = 'u2'", {"p": None}),
    ("KPIs carry P and sigma", "update weekly_kpi set sigma_reason = null where user_id = 'u2'", {"sigma": None}),
    (
        "growth rests on weeks",
        "update growth_brms_meta set n_learners_scored = 2",
        {"problem": "learners", "expected": 2, "found": 1},
    ),
    ("growth rests on weeks", "update growth_learner set n_weeks = 2", {"problem": "weeks of u1", "found": 1}),
    ("growth rests on weeks", "update student_week_theta set s = 1, v = null, y = null", {"expected": 1, "found": 0}),
    (
        "forecasts follow the weeks",
        "update prophet_forecast set week_start = '2026-02-02' where horizon = 4",
        {"week_due": date(2026, 1, 26), "week_found": date(2026, 2, 2)},
    ),
    (
        "forecasts follow the weeks",
        "delete from prophet_forecast where horizon = 2",
        {"week_due": date(2026, 1, 12), "week_found": None, "horizon": 2},
    ),
    ("forecasts follow the weeks", "delete from prophet_forecast", {"series": "1 series, not 0"}),
    ("anomalies by their z", "update prophet_anomalies set z = -z where anomaly", {"z": -3, "anomaly": True}),
    ("anomalies by their z", "update prophet_anomalies set anomaly = false", {"z": 3, "threshold": 2.5}),
    ("anomalies by their z", "update prophet_forecast set metric = 'i_t'", {"week_start": date(2025, 12, 15)}),
    ("model intervals", "update growth_learner set slope = 0.2", {"table_name": "growth_learner", "upper": 0.1}),
    ("model intervals", "update growth_learner set theta_now = 0", {"estimate": "u1: theta_now"}),
    (
        "model intervals",
        """update growth_brms_meta set population = jsonb_set(population, '{0,mean}', '0.04')""",
        {"table_name": "growth_brms_meta", "estimate": "slope"},
    ),
    (
        "model intervals",
        """update growth_glmm_meta set fixed = jsonb_set(fixed, '{0,lower}', '0.15')""",
        {"table_name": "growth_glmm_meta", "estimate": "week"},
    ),
    (
        "model intervals",
        """update survival_fit_meta set covariates = jsonb_set(covariates, '{0,upper}', '1.1')""",
        {"table_name": "survival_fit_meta", "estimate": "sessions"},
    ),
    ("GLMM sums", "update growth_glmm_meta set n_topics = 3", {"n_topics": 3, "topics_listed": 2}),
    ("GLMM sums", "update growth_glmm_meta set n_answers = 4", {"n_answers": 4, "answers_of_topics": 3}),
    ("GLMM sums", "update growth_glmm_meta set first_day = '2025-10-15'", {"first_day": date(2025, 10, 15)}),
    ("report is registered", "delete from report_artifacts", {}),
]


@pytest.fixture
def run(transaction: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A connection to a database with the sound run."""
    write_sound_run(transaction)
    return transaction


def write_sound_run(connection: psycopg.Connection[Any]) -> None:
    db.ensure_partitions(connection, [AS_OF])
    connection.execute((FIXTURES / "sound_run.sql").read_bytes())


def test_sound_run_passes_every_check(run: psycopg.Connection[Any]) -> None:
    findings = list(verify(run, tenant="default", as_of=AS_OF))
    assert [finding for finding in findings if finding.offending] == []
    assert {finding.check for finding in findings} == {check for check, _, _ in DAMAGE}


@pytest.mark.parametrize(("check", "damage", "shown"), DAMAGE)
def test_damage_is_found_and_shown(
    run: psycopg.Connection[Any], check: str, damage: str, shown: dict[str, Any]
) -> None:
    run.execute(damage.encode())
    found = {finding.check: finding for finding in verify(run, tenant="default", as_of=AS_OF)}
    assert found[check].offending > 0
    assert any(shown.items() <= row.items() for row in found[check].examples)


def test_other_tenants_and_days_are_not_looked_at(run: psycopg.Connection[Any]) -> None:
    findings = {finding.check: finding.offending for finding in verify(run, tenant="other", as_of=AS_OF)}
    assert {check for check, offending in findings.items() if offending} == {"jobs ended well"}


def verify_by_command(settings: Settings) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "PYTHONPATH": str(Path(db.__file__).parents[2]),
    }
    command = [sys.executable, "-m", "irt_analytics", "verify", "--as-of", str(AS_OF)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_command_ends_with_0_or_65_and_a_line_a_check(connection: psycopg.Connection[Any], settings: Settings) -> None:
    write_sound_run(connection)
    connection.commit()
    sound = verify_by_command(settings)
    assert (sound.returncode, sound.stdout.splitlines()[-1]) == (0, "26 checks passed")
    assert "ok      features agree with the log" in sound.stdout

    connection.execute("delete from weekly_kpi where user_id = 'u2'")
    connection.commit()
    damaged = verify_by_command(settings)
    assert damaged.returncode == 65
    assert "FAILED  KPIs of every active learner: expects " in damaged.stdout
    assert "          user_id u2, problem has no row" in damaged.stdout
    assert "2 of 26 checks of tenant 'default', as_of 2026-01-07, failed" in damaged.stderr
