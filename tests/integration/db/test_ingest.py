"""Loading a user's own log: what goes through unharmed, and what is refused in which words."""

import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.databases import settings_of

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.ingest import LoadedLog, load_log, parse_columns
from irt_analytics.settings import Settings

HEADER = "student_id,item_id,topic_id,correct,completed_at"
GOOD = "s1,q1,algebra,1,2026-01-05T10:00:00Z"
DATA = Path(__file__).parents[4] / "shared" / "data"


def csv_file(folder: Path, *rows: str, header: str = HEADER, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def answers(settings: Settings, columns: str = HEADER) -> list[tuple[Any, ...]]:
    with db.connect(settings) as connection:
        return connection.execute(
            f"select {columns} from attempt_log order by tenant_id, completed_at, item_id".encode()
        ).fetchall()


def test_csv_row_arrives_in_the_attempt_view_with_its_item(settings: Settings, tmp_path: Path) -> None:
    loaded = load_log(settings, csv_file(tmp_path, GOOD, "s2,q1,algebra,f,2026-01-06 19:00:00.250+09:00"))
    assert loaded == LoadedLog("default", 2, 2, 1, 1, date(2026, 1, 5), date(2026, 1, 6), tuple(HEADER.split(",")), ())
    with db.connect(settings) as connection:
        assert connection.execute(
            f"select tenant_id, {HEADER}, hints from attempt order by student_id".encode()
        ).fetchall() == [
            ("default", "s1", "q1", "algebra", True, datetime(2026, 1, 5, 10, tzinfo=UTC), None),
            ("default", "s2", "q1", "algebra", False, datetime(2026, 1, 6, 10, 0, 0, 250_000, tzinfo=UTC), None),
        ]
        assert connection.execute("select * from question").fetchall() == [("default", "q1", "algebra", {})]


HOSTILE = [
    "O'Brien",
    'the "best"',
    "two\nlines",
    "carriage\r\nreturn",
    "\\.",
    "\\N",
    "null",
    "NaN",
    " padded ",
    "'; drop table attempt_log; --",
    "%(tenant_id)s %s {x} $1",
    "한글 문제",
    "😀👩‍🎓",
    "a,b;c\td|e",
]


def test_ids_go_through_unharmed_whatever_they_hold(settings: Settings, tmp_path: Path) -> None:
    rows = [
        ",".join('"' + text.replace('"', '""') + '"' for text in (name, name, name)) + f",1,2026-01-05T10:00:{n:02d}Z"
        for n, name in enumerate(HOSTILE)
    ]
    path = tmp_path / "log.csv"
    path.write_bytes("\n".join([HEADER, *rows]).encode())
    load_log(settings, path, tenant='O\'Neill "한글"')
    assert answers(settings, "student_id, item_id, topic_id") == [(name, name, name) for name in HOSTILE]

    table = pa.table(
        {
            "student_id": HOSTILE,
            "item_id": HOSTILE,
            "topic_id": HOSTILE,
            "correct": [True] * len(HOSTILE),
            "completed_at": pa.array(
                [datetime(2026, 1, 5, 10, 0, n, tzinfo=UTC) for n in range(len(HOSTILE))],
                pa.timestamp("ns", "Asia/Seoul"),
            ),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    load_log(settings, tmp_path / "log.parquet", tenant='O\'Neill "한글"')
    assert answers(settings, "student_id, item_id, topic_id") == [(name, name, name) for name in HOSTILE]


def test_parquet_types_that_frames_have_are_understood(settings: Settings, tmp_path: Path) -> None:
    time = pa.array([datetime(2026, 1, 5, tzinfo=UTC)] * 2, pa.timestamp("ms", "UTC"))
    table = pa.table(
        {
            "student_id": pa.array([1, 2], pa.int64()),
            "item_id": pa.array(["q1", "q1"]).dictionary_encode(),
            "topic_id": pa.array(["t", "t"], pa.large_string()),
            "correct": pa.array([1.0, 0.0]),
            "completed_at": time,
            "response_time_ms": pa.array([1500.0, float("nan")]),
            "hints": pa.array([None, None], pa.null()),
            "timed_out": pa.array([None, "T"]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    load_log(settings, tmp_path / "log.parquet")
    assert answers(settings, "student_id, item_id, topic_id, correct, response_time_ms, hints, timed_out") == [
        ("1", "q1", "t", True, 1500, None, None),
        ("2", "q1", "t", False, None, None, True),
    ]


def test_optional_columns_and_gzip(settings: Settings, tmp_path: Path) -> None:
    header = f"{HEADER},started_at,response_time_ms,hint_used,hints,attempt_no,session_id,timed_out,browser"
    row = f"{GOOD},2026-01-05T09:59:00Z,60000.0,True,2,1,v1,0,lynx"
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(f"\ufeff{header}\r\n{row}\r\n{GOOD.replace('q1', 'q2')},,,,,,,,\r\n".encode()))
    loaded = load_log(settings, path)
    assert loaded.ignored == ("browser",)
    assert answers(settings, "started_at, response_time_ms, hint_used, hints, attempt_no, session_id, timed_out") == [
        (datetime(2026, 1, 5, 9, 59, tzinfo=UTC), 60000, True, 2, 1, "v1", False),
        (None,) * 7,
    ]


def test_other_column_names_are_read_when_said_and_only_then(settings: Settings, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "s1,q1,algebra,1,2026-01-05T10:00:00Z", header="user,question,skill,is_right,Answered At")
    with pytest.raises(ConfigurationError) as error:
        load_log(settings, path)
    assert str(error.value) == (
        f"{path} has no column student_id, item_id, topic_id, correct, completed_at; "
        "it has user, question, skill, is_right, Answered At. Say which column is which: "
        'COLUMNS="student_id=user,item_id=question,topic_id=skill,correct=is_right,completed_at=Answered At"'
    )
    suggestion = str(error.value).split('"')[1]
    assert load_log(settings, path, columns=parse_columns(suggestion)).answers == 1


def test_reloading_replaces_the_tenant_s_log_and_keeps_tags_and_other_tenants(
    settings: Settings, tmp_path: Path
) -> None:
    path = csv_file(tmp_path, GOOD, "s1,q2,algebra,0,2026-01-05T10:01:00Z")
    load_log(settings, path, tenant="a")
    load_log(settings, path, tenant="b")
    with db.connect(settings) as connection:
        connection.execute("""update question set meta = '{"tags": ["anchor"]}' where tenant_id = 'a'""")
        connection.commit()
    load_log(settings, path, tenant="a")
    load_log(settings, csv_file(tmp_path, GOOD.replace("algebra", "geometry")), tenant="a")
    assert answers(settings, "tenant_id, item_id, topic_id") == [
        ("a", "q1", "geometry"),
        ("b", "q1", "algebra"),
        ("b", "q2", "algebra"),
    ]
    with db.connect(settings) as connection:
        questions = connection.execute(
            "select tenant_id, item_id, topic_id, meta from question order by tenant_id, item_id"
        ).fetchall()
    anchor = {"tags": ["anchor"]}
    assert questions == [
        ("a", "q1", "geometry", anchor),
        ("a", "q2", "algebra", anchor),
        ("b", "q1", "algebra", {}),
        ("b", "q2", "algebra", {}),
    ]


def test_indexes_of_the_log_are_there_after_a_load_and_after_a_refused_one(settings: Settings, tmp_path: Path) -> None:
    """Without them every job would read the whole log for one learner."""

    def indexes() -> list[tuple[Any, ...]]:
        with db.connect(settings) as connection:
            return connection.execute(
                "select indexname, indexdef from pg_indexes where tablename = 'attempt_log' order by indexname"
            ).fetchall()

    before = indexes()
    assert len(before) == 2
    load_log(settings, csv_file(tmp_path, GOOD))
    assert indexes() == before
    with pytest.raises(ConfigurationError):
        load_log(settings, csv_file(tmp_path, GOOD, GOOD))
    assert indexes() == before
    assert answers(settings, "student_id") == [("s1",)]


def test_item_answered_under_several_topics_belongs_to_its_most_frequent(settings: Settings, tmp_path: Path) -> None:
    topics = ["b", "a", "c", "c"]
    rows = [f"s{n},q1,{topic},1,2026-01-05T10:00:00Z" for n, topic in enumerate(topics)]
    load_log(settings, csv_file(tmp_path, *rows, "s1,q2,b,1,2026-01-05T10:00:00Z", "s2,q2,a,1,2026-01-05T10:00:00Z"))
    with db.connect(settings) as connection:
        questions = connection.execute("select item_id, topic_id from question order by item_id").fetchall()
    assert questions == [("q1", "c"), ("q2", "a")]


FUTURE = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
BOOLEAN = "expected 0 or 1, true or false, t or f"
ZONED = "expected a time with its zone, such as 2026-01-31T09:30:00Z or 2026-01-31 18:30:00+09:00"


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("correct", "maybe", BOOLEAN),
        ("correct", "", BOOLEAN),
        ("completed_at", "2026-01-05 10:00:00", f"{ZONED}; this one has none (append Z where times are UTC)"),
        ("completed_at", "05/01/2026 10:00", ZONED),
        ("completed_at", "2026-02-30T10:00:00Z", ZONED),
        ("completed_at", "", ZONED),
        ("completed_at", FUTURE, "expected a time in the past"),
        ("student_id", "", "expected an id that is not empty"),
        ("item_id", "q\0", "expected an id without NUL characters"),
        ("topic_id", "t" * 801, "expected an id of at most 800 bytes"),
    ],
)
def test_value_that_is_not_understood_is_shown_with_its_place(
    settings: Settings, tmp_path: Path, column: str, value: str, expected: str
) -> None:
    row = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {column: value}
    path = csv_file(tmp_path, GOOD.replace("s1", '"s\n1"'), ",".join(row.values()), GOOD.replace("s1", "s3"))
    with pytest.raises(ConfigurationError) as error:
        load_log(settings, path)
    assert str(error.value) == f"{path}, row 2 (line 4): {column} = {value!r}: {expected}"
    assert answers(settings) == []


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "99999999999"])
def test_response_time_must_be_whole_milliseconds(settings: Settings, tmp_path: Path, value: str) -> None:
    path = csv_file(tmp_path, f"{GOOD},{value}", header=f"{HEADER},ms")
    with pytest.raises(ConfigurationError) as error:
        load_log(settings, path, columns={"response_time_ms": "ms"})
    assert str(error.value) == (
        f"{path}, row 1 (line 2): response_time_ms (column 'ms') = {value!r}: "
        "expected a whole number from 0 to 2147483647"
    )


def test_parquet_times_without_zone_are_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    columns = {"student_id": ["s"], "item_id": ["i"], "topic_id": ["t"], "correct": [True]}
    pq.write_table(pa.table({**columns, "completed_at": [datetime(2026, 1, 5)]}), path)  # noqa: DTZ001
    with pytest.raises(
        ConfigurationError, match=r"row 1: completed_at = .*: expected a time with its zone.*tz_localize"
    ):
        load_log(settings, path)


def test_late_bad_row_of_a_long_file_is_found_and_nothing_stays(settings: Settings, tmp_path: Path) -> None:
    rows = [f"s{n},q1,algebra,1,2026-01-05T10:00:00Z" for n in range(300_000)]
    rows[250_001] = "s,q1,algebra,2,2026-01-05T10:00:00Z"
    path = csv_file(tmp_path, *rows)
    with pytest.raises(ConfigurationError, match=r"row 250002 \(line 250003\): correct = '2'"):
        load_log(settings, path)
    assert answers(settings) == []


def test_duplicate_answers_are_counted_and_shown(settings: Settings, tmp_path: Path) -> None:
    path = csv_file(tmp_path, GOOD, GOOD, "s2,q1,algebra,1,2026-01-05T10:00:00Z", GOOD.replace("1,2026", "0,2026"))
    with pytest.raises(ConfigurationError) as error:
        load_log(settings, path)
    assert str(error.value) == (
        f"{path}: answers recorded more than once (same student_id, item_id and completed_at): 1, expected none. "
        "student_id 's1', item_id 'q1', completed_at 2026-01-05T10:00:00.000Z: 3 rows"
    )


def test_file_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.csv: no such file"):
        load_log(settings, tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"", r"the file is empty: expected a header line with student_id, item_id"),
        ("log.csv", f"{HEADER}\n".encode(), r"the log is empty: it has a header and no answer"),
        ("log.csv", f"{HEADER}\n{GOOD}\n".replace(",", ";").encode(), "the columns are separated by semicolons"),
        ("log.csv", f"{HEADER}\n{GOOD}\n".replace(",", "\t").encode(), "the columns are separated by tabs"),
        ("log.csv", f"{HEADER}\n{GOOD},9\n".encode(), "comma-separated UTF-8: .*Expected 5 columns, got 6"),
        ("log.csv", f"{HEADER}\nJosé{GOOD}\n".encode("latin-1"), "comma-separated UTF-8: 'utf-8' codec can't decode"),
        ("log.csv", f"{HEADER}\n{(GOOD + chr(10)) * 9999}José{GOOD}".encode("latin-1"), "UTF-8: .*invalid UTF8 data"),
        ("log.csv", f"{HEADER},correct\n{GOOD},1\n".encode(), "has 2 columns called 'correct': expected one"),
        ("log.csv.gz", b"not gzip", "cannot be read as comma-separated UTF-8: Not a gzipped file"),
        ("log.csv.gz", gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-12], "cannot be read"),
        ("log.parquet", b"not parquet", "cannot be read as Parquet"),
        ("log.xlsx", b"PK", r"expected a file that ends in \.csv, \.csv\.gz or \.parquet"),
    ],
)
def test_unreadable_files_say_why(settings: Settings, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        load_log(settings, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("correct", "'correct': expected NAME=COLUMN, such as correct=is_right"),
        ("korrect=is_right", "'korrect' is no column of the contract; expected one of student_id"),
    ],
)
def test_columns_option_is_checked(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_columns(text)


def test_columns_option_names_a_column_the_file_lacks(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"correct=is_right: .* has no column 'is_right'; it has student_id"):
        load_log(settings, csv_file(tmp_path, GOOD), columns={"correct": "is_right"})


def test_as_of_before_the_first_answer_says_which_days_there_are(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"as_of 2025-12-31 is before the first answer of .*, 2026-01-05: choose a day between 2026-01-05 and",
    ):
        load_log(settings, csv_file(tmp_path, GOOD), as_of=date(2025, 12, 31))


def test_log_of_another_tenant_is_not_taken_for_this_one(settings: Settings, tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"a,{GOOD}", f"b,{GOOD}", header=f"tenant_id,{HEADER}")
    with pytest.raises(ConfigurationError, match=r"row 2 \(line 3\): tenant_id = 'b': expected 'a', the tenant loaded"):
        load_log(settings, path, tenant="a")


def test_database_without_schema_says_what_to_run(empty_database_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no table attempt_log: run `python -m irt_analytics prepare_schema`"):
        load_log(settings_of(empty_database_url), csv_file(tmp_path, GOOD))


def test_two_loads_of_one_tenant_do_not_mix(
    settings: Settings, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    connection.execute("select pg_advisory_xact_lock(hashtextextended('irt_analytics/load/default', 0))")
    with pytest.raises(TemporaryError, match="another load of tenant 'default' is under way"):
        load_log(settings, csv_file(tmp_path, GOOD))


def test_two_tenants_loaded_at_once_both_keep_their_answers(
    settings: Settings, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """The log of `a` alone may be emptied whole; not once the answers of `b` are about to be there."""
    load_log(settings, csv_file(tmp_path, GOOD), tenant="a")
    connection.execute(  # what a load of `b` has done just before it commits
        "insert into attempt_log (tenant_id, student_id, item_id, topic_id, correct, completed_at)"
        " values ('b', 's1', 'q1', 'algebra', true, '2026-01-05T10:00:00Z')"
    )
    with ThreadPoolExecutor(1) as thread:
        path = csv_file(tmp_path, GOOD.replace("q1", "q2"), name="again.csv")
        again = thread.submit(load_log, settings, path, tenant="a")
        with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as watch:
            give_up = time.monotonic() + 30
            while watch.execute("select from pg_locks where not granted").fetchone() is None:
                assert time.monotonic() < give_up
                assert not again.done(), "the second load did not wait for the first"
                time.sleep(0.02)
        connection.commit()
        again.result()
    assert answers(settings, "tenant_id, item_id") == [("a", "q2"), ("b", "q1")]


def test_two_first_loads_at_once_do_not_wait_for_each_other(settings: Settings, tmp_path: Path) -> None:
    """Each had asked whether the log is empty; each kept the other from emptying it."""
    tenants = [f"tenant-{n}" for n in range(4)]
    path = csv_file(tmp_path, *(f"s{n},q1,algebra,1,2026-01-05T10:00:00Z" for n in range(2000)))
    with ThreadPoolExecutor(len(tenants)) as threads:
        loads = [threads.submit(load_log, settings, path, tenant=tenant) for tenant in tenants]
        assert [load.result().answers for load in loads] == [2000] * len(tenants)
    with db.connect(settings) as connection:
        counts = connection.execute("select tenant_id, count(*) from attempt_log group by 1 order by 1").fetchall()
    assert counts == [(tenant, 2000) for tenant in tenants]


def test_a_log_that_stays_busy_is_loaded_beside_its_reader(
    settings: Settings, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irt_analytics.ingest.LOCK_TIMEOUT", "50ms")
    load_log(settings, csv_file(tmp_path, GOOD))
    assert connection.execute("select count(*) from attempt_log").fetchone() == (1,)
    load_log(settings, csv_file(tmp_path, GOOD.replace("q1", "q2")))
    assert answers(settings, "item_id") == [("q2",)]


@pytest.mark.parametrize(
    ("name", "learners", "items", "answers"),
    [("statistics_practice", 478, 72, 55_122), ("middle_school_math", 342, 2_625, 90_586)],
)
def test_real_logs_load_whole(settings: Settings, name: str, learners: int, items: int, answers: int) -> None:
    loaded = load_log(settings, DATA / f"{name}_attempts.csv.gz")
    assert (loaded.learners, loaded.items, loaded.answers) == (learners, items, answers)
