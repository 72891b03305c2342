"""The statements of check_attempts: each fault in a log is counted and shown, and a sound log passes."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from irt_analytics import db
from irt_analytics.ingest import load_log
from irt_analytics.settings import Settings

DATA = Path(__file__).parents[4] / "shared" / "data"
CHECKS = sorted(path.stem for path in (db.SQL_ROOT / "checks" / "attempts").glob("*.sql"))
AS_OF = "2026-01-31"

SOUND = {
    "tenant_id": "default",
    "student_id": "s1",
    "item_id": "q1",
    "topic_id": "algebra",
    "correct": True,
    "completed_at": "2026-01-30T10:00:00Z",
    "started_at": None,
    "response_time_ms": None,
    "hints": None,
}


@pytest.fixture
def connection(transaction: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """No test here commits."""
    return transaction


def answer(connection: psycopg.Connection[Any], **values: Any) -> None:
    row = SOUND | values
    columns = ", ".join(row)
    placeholders = ", ".join(f"%({name})s" for name in row)
    connection.execute(f"insert into attempt_log ({columns}) values ({placeholders})".encode(), row)


def check(connection: psycopg.Connection[Any], name: str, as_of: str = AS_OF) -> tuple[int, int, list[str]]:
    rows = connection.execute(db.sql(f"checks/attempts/{name}"), {"tenant_id": "default", "as_of": as_of}).fetchall()
    assert len(rows) == 1
    n, total, examples = rows[0]
    return n, total, examples


def test_there_is_a_check_for_every_fault() -> None:
    assert CHECKS == [
        "answers_a_day",
        "correct",
        "duplicates",
        "durations",
        "empty",
        "future",
        "null_keys",
        "order_of_times",
        "stale",
    ]


@pytest.mark.parametrize("name", CHECKS)
def test_sound_answer_passes(connection: psycopg.Connection[Any], name: str) -> None:
    last_moment = "2026-01-31T23:59:59Z"
    answer(connection, started_at=last_moment, response_time_ms=0, hints=0, completed_at=last_moment)
    n, _, examples = check(connection, name)
    assert (n, examples) == (0, [])


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "future"])
def test_nothing_after_as_of_is_looked_at(connection: psycopg.Connection[Any], name: str) -> None:
    """Otherwise a rerun of a past day would fail for what came later."""
    answer(connection, completed_at="2026-01-31T23:59:59Z")
    for _ in range(2):
        answer(
            connection,
            completed_at="2026-02-01T00:00:00Z",
            topic_id=None,
            correct=None,
            started_at="2026-02-02T00:00:00Z",
            response_time_ms=-1,
        )
    n, _, _ = check(connection, name)
    assert n == 0


@pytest.mark.parametrize("name", CHECKS)
def test_other_tenants_faults_are_not_this_tenant_s(connection: psycopg.Connection[Any], name: str) -> None:
    answer(connection, completed_at="2026-01-31T10:00:00Z")
    for _ in range(2):
        answer(connection, tenant_id="other", topic_id=None, correct=None, started_at="2027-01-01", response_time_ms=-1)
    answer(connection, tenant_id="other", completed_at="2999-01-01T00:00:00Z")
    n, _, _ = check(connection, name)
    assert n == 0


def test_null_keys(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    answer(connection, student_id="")
    answer(connection, item_id=None)
    answer(connection, topic_id=None)
    answer(connection, completed_at=None)
    n, total, examples = check(connection, "null_keys")
    assert (n, total, len(examples)) == (4, 5, 3)
    assert "student_id '', item_id 'q1', topic_id 'algebra', completed_at 2026-01-30T10:00:00Z" in examples
    assert "student_id 's1', item_id 'q1', topic_id null, completed_at 2026-01-30T10:00:00Z" in examples


def test_correct(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    answer(connection, correct=None)
    assert check(connection, "correct") == (
        1,
        2,
        ["s1 answered q1 at 2026-01-30T10:00:00Z: correct is neither true nor false"],
    )


def test_answers_from_the_future(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    answer(connection, completed_at="2999-01-01T00:00:00Z")
    assert check(connection, "future") == (1, 2, ["s1 answered q1 at 2999-01-01T00:00:00Z, in the future"])


def test_duplicates_count_the_surplus_rows(connection: psycopg.Connection[Any]) -> None:
    for _ in range(3):
        answer(connection)
    answer(connection, item_id="q2")
    assert check(connection, "duplicates") == (
        2,
        4,
        ["s1 answered q1 at 2026-01-30T10:00:00.000Z, recorded 3 times"],
    )


def test_answers_before_they_started(connection: psycopg.Connection[Any]) -> None:
    answer(connection, started_at="2026-01-30T10:00:00.5Z")
    assert check(connection, "order_of_times") == (
        1,
        1,
        ["s1 answered q1 at 2026-01-30T10:00:00.000Z, started at 2026-01-30T10:00:00.500Z"],
    )


def test_negative_and_absurd_times(connection: psycopg.Connection[Any]) -> None:
    answer(connection, response_time_ms=86_400_000)
    answer(connection, item_id="q2", response_time_ms=86_400_001)
    answer(connection, item_id="q3", response_time_ms=-1)
    answer(connection, item_id="q4", hints=-2)
    assert check(connection, "durations") == (
        3,
        4,
        [
            "s1 answered q2 at 2026-01-30T10:00:00Z: response_time_ms 86400001, hints null",
            "s1 answered q3 at 2026-01-30T10:00:00Z: response_time_ms -1, hints null",
            "s1 answered q4 at 2026-01-30T10:00:00Z: response_time_ms null, hints -2",
        ],
    )


def test_inhuman_numbers_of_answers(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        """
        insert into attempt_log (student_id, item_id, topic_id, correct, completed_at)
        select
            case when n <= 1501 then 'bot' else 'human' end,
            'q' || n,
            'algebra',
            true,
            timestamptz '2026-01-30 00:00:00+00' + n * interval '10 seconds'
        from generate_series(1, 3001) as n
        """
    )
    assert check(connection, "answers_a_day") == (1, 2, ["bot gave 1501 answers on 2026-01-30"])


def test_empty_log(connection: psycopg.Connection[Any]) -> None:
    assert check(connection, "empty") == (1, 1, ["tenant 'default' has no answer at all"])


def test_as_of_before_the_first_answer(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    assert check(connection, "empty", as_of="2026-01-29") == (
        1,
        1,
        ["the first answer of tenant 'default' is of 2026-01-30, after as_of 2026-01-29"],
    )


def test_stale_log_says_its_newest_answer(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    n, _, examples = check(connection, "stale", as_of="2026-02-14")
    assert (n, examples) == (15, ["the newest answer up to as_of 2026-02-14 is of 2026-01-30T10:00:00Z"])


@pytest.mark.parametrize(
    ("name", "as_of"), [("statistics_practice", "2015-12-06"), ("middle_school_math", "2005-05-16")]
)
def test_real_logs_pass_every_check(settings: Settings, name: str, as_of: str) -> None:
    load_log(settings, DATA / f"{name}_attempts.csv.gz")
    with db.connect(settings) as connection:
        counts = {check_name: check(connection, check_name, as_of)[0] for check_name in CHECKS}
    assert counts == dict.fromkeys(CHECKS, 0)
