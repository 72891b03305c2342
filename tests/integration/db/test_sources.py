"""The view attempt over the three sources, and what a customer is told when a source does not fit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from irt_analytics.db.sources import define_attempt_view
from irt_analytics.errors import ConfigurationError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "sources"

CONTRACT = (
    "tenant_id, student_id, item_id, topic_id, correct, completed_at, started_at, response_time_ms, hint_used, hints, "
    "attempt_no, session_id, timed_out"
)


@pytest.fixture
def connection(transaction: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """No test here commits."""
    return transaction


def attempts(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(f"select {CONTRACT} from attempt order by student_id, item_id".encode()).fetchall()


def at(hour: int, minute: int = 0, microsecond: int = 0, day: int = 5) -> datetime:
    return datetime(2026, 1, day, hour, minute, 0, microsecond, tzinfo=UTC)


def test_flat_log_is_read_as_it_is(connection: psycopg.Connection[Any]) -> None:
    row = ("t", "s1", "q1", "algebra", True, at(10), at(9), 1000, False, 0, 1, "v1", False)
    connection.execute(f"insert into attempt_log ({CONTRACT}) values ({', '.join(['%s'] * len(row))})".encode(), row)
    assert attempts(connection) == [row]


def test_exams_become_answers_with_their_own_times(connection: psycopg.Connection[Any]) -> None:
    connection.execute((FIXTURES / "exam_result.sql").read_bytes())
    define_attempt_view(connection, "exam_jsonb")
    ada = "00000000-0000-0000-0000-00000000000a"
    started = datetime(2026, 1, 5, 10, 9, 30, tzinfo=UTC)
    assert attempts(connection) == [
        ("default", ada, "q1", "algebra", True, at(10, 10, 250_000), started, 30250, False, 0, None, "1", False),
        ("default", ada, "q2", "algebra", False, at(10, 30), None, 12000, True, 2, None, "1", None),
        # What cannot be read is null, for check_attempts to count, instead of an error for the whole log.
        ("default", ada, "q3", '한글 "그림"', None, None, None, None, None, None, 2, "2", True),
    ]


def test_xapi_answers_are_read_and_voided_ones_are_not(connection: psycopg.Connection[Any]) -> None:
    connection.execute((FIXTURES / "xapi_statement.sql").read_bytes())
    define_attempt_view(connection, "xapi")
    items, nothing = "https://school.example/items/", (None, None, None)
    course = "https://school.example/courses/1"
    registration = "99999999-0000-0000-0000-000000000001"
    assert attempts(connection) == [
        ("default", "https://carl.example/", items + "9", None, None, None, None, None, *nothing, None, None),
        (
            *("default", "https://school.example/ada", items + "7", "https://school.example/topics/fractions", True),
            *(at(10, 0, 500_000), None, 63250, *nothing, registration, None),
        ),
        ("default", "mailto:ben@school.example", items + "7", course, False, at(10), None, None, *nothing, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2023-02-29T00:00:00Z", None),
        ("2024-02-29 09:00+0900", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0000-01-01T00:00:00Z", None),
        ("2024-01-01T24:00:00Z", None),
        ("2024-01-01T00:00:00", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_impossible_times_in_json_are_null_instead_of_an_error(
    connection: psycopg.Connection[Any], text: str | None, expected: datetime | None
) -> None:
    assert connection.execute("select json_time(%s)", (text,)).fetchone() == (expected,)


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [
        ("PT2S", 2000),
        ("PT1H0.5S", 3_600_500),
        ("P1D", 86_400_000),
        ("P", None),
        ("PT", None),
        ("2 s", None),
        ("P1Y", None),
    ],
)
def test_durations(connection: psycopg.Connection[Any], duration: str, milliseconds: int | None) -> None:
    assert connection.execute("select json_milliseconds(%s)", (duration,)).fetchone() == (milliseconds,)


def test_missing_customer_table_is_named(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r'ATTEMPT_SOURCE=\'exam_jsonb\' reads a table that this database lacks: relation "exam_result" does not '
        r"exist\. Create it as exam_jsonb\.sql describes",
    ):
        define_attempt_view(connection, "exam_jsonb")


def test_unknown_source_lists_the_known_ones(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(ConfigurationError, match="'flaat': expected exam_jsonb, flat, xapi, or the path"):
        define_attempt_view(connection, "flaat")


OWN = """
select
    tenant_id,
    student_id::{student_type} as student_id,
    item_id,
    topic_id,
    correct,
    completed_at,
    started_at,
    response_time_ms,
    hint_used,
    {hints}
    attempt_no,
    session_id,
    timed_out
    {more}
from attempt_log;
"""


def own_source(folder: Path, *, student_type: str = "text", hints: str = "hints,", more: str = "") -> str:
    path = folder / "own.sql"
    path.write_text(OWN.format(student_type=student_type, hints=hints, more=more), encoding="utf-8")
    return str(path)


def test_own_query_may_show_more_columns(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    define_attempt_view(connection, own_source(tmp_path, more=", 'web' as channel"))
    assert connection.execute("select count(channel) from attempt").fetchone() == (0,)
    # ... and back again, although `create or replace view` cannot drop a column.
    define_attempt_view(connection, "flat")


def test_wrong_column_type_says_found_and_expected(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="column student_id is character varying, expected text"):
        define_attempt_view(connection, own_source(tmp_path, student_type="varchar"))


def test_missing_column_says_how_to_declare_it_unrecorded(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"column hints is missing, expected integer .*`null::integer as hints`"
    ):
        define_attempt_view(connection, own_source(tmp_path, hints=""))


def test_source_of_two_statements_runs_neither(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    path = own_source(tmp_path)
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("drop table attempt_log")
    with pytest.raises(ConfigurationError, match="cannot insert multiple commands"):
        define_attempt_view(connection, path)
    assert connection.execute("select count(*) from attempt_log").fetchone() == (0,)


def test_source_that_is_no_query_is_shown_the_database_s_words(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    path = tmp_path / "own.sql"
    path.write_text("selct 1", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r'own\.sql is not a query .*syntax error at or near "selct"'):
        define_attempt_view(connection, str(path))


def test_view_that_others_build_on_is_not_dropped_under_them(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    define_attempt_view(connection, own_source(tmp_path, more=", 'web' as channel"))
    connection.execute("create view mine as select channel from attempt")
    with pytest.raises(ConfigurationError, match=r"which other objects use: .*view mine depends on view attempt"):
        define_attempt_view(connection, "flat")
    assert connection.execute("select count(*) from mine").fetchone() == (0,)
