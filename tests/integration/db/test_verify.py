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
    (
        "runs exist",
        "update student_topic_theta set run_id = 'gone'",
        {"table_name": "student_topic_theta", "run_id": "gone"},
    ),
    ("runs exist", "update user_segments set run_id = 'gone'", {"table_name": "user_segments"}),
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
    assert (sound.returncode, sound.stdout.splitlines()[-1]) == (0, "17 checks passed")
    assert "ok      features agree with the log" in sound.stdout

    connection.execute("delete from weekly_kpi where user_id = 'u2'")
    connection.commit()
    damaged = verify_by_command(settings)
    assert damaged.returncode == 65
    assert "FAILED  KPIs of every active learner: expects " in damaged.stdout
    assert "          user_id u2, problem has no row" in damaged.stdout
    assert "1 of 17 checks of tenant 'default', as_of 2026-01-07, failed" in damaged.stderr
