"""check_attempts on a real database: what it lets pass, what it says, and that it changes nothing."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from irt_airflow.check_attempts import CheckAttemptsOperator, read_checks

CHECKS = Path(__file__).parents[2] / "include" / "sql" / "checks" / "attempts"
HEADER = "-- check: any\n-- expects: no row\n-- threshold: {threshold}\n"


@pytest.fixture(autouse=True)
def seedtest_db(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Airflow connection of the test's database."""
    info = psycopg.conninfo.conninfo_to_dict(request.getfixturevalue("database_url"))
    fields = {"conn_type": "postgres", "host": info["host"], "login": info["user"], "schema": info["dbname"]}
    monkeypatch.setenv("AIRFLOW_CONN_SEEDTEST_DB", json.dumps(fields))


def answer(connection: psycopg.Connection[Any], **values: Any) -> None:
    row = {
        "tenant_id": "default",
        "student_id": "ada",
        "item_id": "i1",
        "topic_id": "t1",
        "correct": True,
        "completed_at": "2026-01-30T12:00:00Z",
        **values,
    }
    columns = ", ".join(row)
    connection.execute(f"insert into attempt_log ({columns}) values ({', '.join(f'%({c})s' for c in row)})", row)
    connection.commit()


def check(folder: Path = CHECKS, *, tenant: str = "default", connection_id: str = "seedtest_db") -> None:
    operator = CheckAttemptsOperator(
        task_id="check_attempts", folder=folder, as_of="2026-01-31", tenant=tenant, connection_id=connection_id
    )
    operator.execute({})


def test_sound_log_passes(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    check()


def test_each_failing_check_is_a_line_with_count_threshold_and_examples(
    connection: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer(connection)
    for item in ("i2", "i3", "i4", "i5"):
        answer(connection, item_id=item, correct=None)
    answer(connection, item_id="i6", topic_id=None)
    with pytest.raises(AirflowFailException, match="2 of 9 checks of the answer log failed: correct, null keys"):
        check()
    errors = [line for line in capsys.readouterr().out.splitlines() if "[error" in line]
    assert "correct: 4 of 6, tolerated 0. Expected: every answer is marked" in errors[0]
    assert "null keys: 1 of 6, tolerated 0. Expected: every answer names" in errors[1]
    assert len(errors) == 2
    assert errors[0].count(" | ") == 2, "three examples"


def test_another_tenant_s_faults_do_not_fail_this_one(connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    answer(connection, tenant_id="other", correct=None)
    check()
    with pytest.raises(AirflowFailException, match="correct"):
        check(tenant="other")


@pytest.mark.parametrize(
    ("threshold", "passes"), [("0", False), ("2", False), ("3", True), ("29%%", False), ("30%%", True)]
)
def test_threshold_is_a_number_of_rows_or_a_share_of_all(tmp_path: Path, threshold: str, passes: bool) -> None:
    sql = "select 3::bigint as n, 10::bigint as total, array['a', 'b', 'c'] as examples"
    (tmp_path / "any.sql").write_text(HEADER.format(threshold=threshold) + sql)
    if passes:
        check(tmp_path)
    else:
        with pytest.raises(AirflowFailException, match="1 of 1 checks"):
            check(tmp_path)


def test_check_that_would_repair_the_log_is_stopped(tmp_path: Path, connection: psycopg.Connection[Any]) -> None:
    answer(connection)
    gone = "with gone as (delete from attempt_log returning 1)"
    sql = f"{gone} select count(*) as n, 1 as total, null as examples from gone"
    (tmp_path / "any.sql").write_text(HEADER.format(threshold=0) + sql)
    with pytest.raises(AirflowFailException, match="read-only transaction"):
        check(tmp_path)
    assert connection.execute("select count(*) from attempt_log").fetchone() == (1,)


def test_database_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": 1,
        "login": "u",
        "password": "hunter2",
        "schema": "x",
    }
    monkeypatch.setenv("AIRFLOW_CONN_SEEDTEST_DB", json.dumps(fields))
    with pytest.raises(AirflowException, match="connection 'seedtest_db'") as away:
        check()
    assert not isinstance(away.value, AirflowFailException)
    assert "hunter2" not in str(away.value)


def test_wrong_password_names_the_connection_and_is_not_tried_again(
    database_url: str, guarded_role: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries would hide for minutes what a person has to mend."""
    info = psycopg.conninfo.conninfo_to_dict(database_url)
    fields = {"conn_type": "postgres", "host": info["host"], "schema": info["dbname"], "login": guarded_role[0]}
    monkeypatch.setenv("AIRFLOW_CONN_SEEDTEST_DB", json.dumps({**fields, "password": "hunter2"}))
    with pytest.raises(
        AirflowFailException, match=r"connection 'seedtest_db': .* password authentication failed"
    ) as error:
        check()
    assert "hunter2" not in str(error.value)
    monkeypatch.setenv(
        "AIRFLOW_CONN_SEEDTEST_DB", json.dumps({**fields, "schema": "elsewhere", "password": guarded_role[1]})
    )
    with pytest.raises(AirflowFailException, match='database "elsewhere" does not exist'):
        check()


def test_view_that_is_not_there_is_not_tried_again(connection: psycopg.Connection[Any]) -> None:
    connection.execute("drop view attempt cascade")
    connection.commit()
    with pytest.raises(AirflowFailException, match='relation "attempt" does not exist'):
        check()


def test_missing_connection_is_named() -> None:
    with pytest.raises(AirflowFailException, match="no connection 'elsewhere'"):
        check(connection_id="elsewhere")


def test_folder_without_checks_does_not_count_as_a_sound_log(tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"holds no \*\.sql file"):
        check(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- check: a\n-- threshold: 0\n", "lacks `-- expects:`"),
        ("-- check: a\n-- expects: b\n-- threshold: some\n", "threshold 'some': expected a number of rows"),
        ("-- check: a\n-- expects: b\n-- threshold: -1\n", "threshold '-1'"),
    ],
)
def test_check_without_a_complete_header_names_its_file(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "odd.sql").write_text(header + "select 1")
    with pytest.raises(ValueError, match=f"odd.sql: .*{message}"):
        read_checks(tmp_path)


def test_killed_check_stops_its_statement(tmp_path: Path) -> None:
    """A statement that runs on would hold the log's rows for hours after the task is gone."""
    (tmp_path / "any.sql").write_text(
        HEADER.format(threshold=0) + "select count(pg_sleep(60)) as n, 1 as total, null as examples"
    )
    operator = CheckAttemptsOperator(
        task_id="check_attempts", folder=tmp_path, as_of="2026-01-31", tenant="default", connection_id="seedtest_db"
    )
    killer = threading.Timer(1.0, operator.on_kill)
    killer.start()
    began = time.monotonic()
    with pytest.raises(AirflowException, match="cancel"):
        operator.execute({})
    assert time.monotonic() - began < 30
