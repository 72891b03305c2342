"""Reading and writing in bulk: types survive the way there and back, and nulls stay nulls."""

import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from irt_analytics import db
from irt_analytics.settings import Settings

COLUMNS = """
    create table thing (
        id text primary key,
        flag boolean,
        small smallint,
        whole int,
        big bigint,
        real4 real,
        number float8,
        day date,
        at timestamptz,
        tags text[],
        meta jsonb,
        filled int default 7
    )
"""


@pytest.fixture
def thing(transaction: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A connection to a database with a table of every type that jobs write."""
    transaction.execute(COLUMNS)
    return transaction


FRAME = pd.DataFrame(
    {
        "number": [0.1, np.nan, -1e-300],
        "id": ['O\'Brien "x"\n\\.', "한글 😀", ""],
        "flag": [True, None, False],
        "small": pd.array([1, None, -1], dtype="Int16"),
        "whole": [1.0, np.nan, 3.0],
        "big": pd.Series([2**62, None, 0], dtype=pd.ArrowDtype(pa.int64())),
        "real4": np.array([0.5, np.nan, 1.5], dtype=np.float32),
        "day": [date(2026, 1, 5), None, date(1999, 12, 31)],
        "at": pd.to_datetime(
            pd.Series(["2026-01-05T10:00:00.123456Z", None, "2026-01-05T19:00:00Z"]), format="ISO8601"
        ),
        "tags": [["a", 'b"c'], None, []],
        "meta": [{"x": np.float64(1.5), "y": [np.int64(1)], "z": "한"}, None, '{"already": "json"}'],
    }
)


def test_frame_arrives_value_for_value(thing: psycopg.Connection[Any]) -> None:
    assert db.copy_frame(thing, "thing", FRAME) == 3
    at = datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)
    assert thing.execute("select * from thing order by whole").fetchall() == [
        (
            *("O'Brien \"x\"\n\\.", True, 1, 1, 2**62, 0.5, 0.1, date(2026, 1, 5), at),
            *(["a", 'b"c'], {"x": 1.5, "y": [1], "z": "한"}, 7),
        ),
        (
            *("", False, -1, 3, 0, 1.5, -1e-300, date(1999, 12, 31), at.replace(hour=19, microsecond=0)),
            *([], {"already": "json"}, 7),
        ),
        ("한글 😀", *[None] * 10, 7),
    ]  # fmt: skip


def test_dates_may_come_as_pandas_timestamps_and_texts_as_categories(thing: psycopg.Connection[Any]) -> None:
    frame = pd.DataFrame({"id": pd.Categorical(["a"]), "day": pd.to_datetime(["2026-01-05"])})
    db.copy_frame(thing, "thing", frame)
    assert thing.execute("select id, day from thing").fetchall() == [("a", date(2026, 1, 5))]


def test_arrow_nan_becomes_null_and_not_the_greatest_number(thing: psycopg.Connection[Any]) -> None:
    number: pd.Series[Any] = pd.Series(pa.array([float("nan")]), dtype=pd.ArrowDtype(pa.float64()))
    assert number.array.isna().tolist() == [False]  # pandas sees a number
    db.copy_frame(thing, "thing", pd.DataFrame({"id": ["a"], "number": number}))
    assert thing.execute("select number from thing").fetchone() == (None,)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"id": ["a"], "nmber": [1.0]}, "table thing has no column 'nmber'; it has id, flag"),
        ({"id": ["a"], "whole": [1.5]}, r"thing\.whole is int4: Float value 1\.50* was truncated"),
        ({"id": ["a"], "whole": [2**40]}, "thing.whole is int4: Integer value 1099511627776 not in range"),
        ({"id": ["a"], "at": [datetime(2026, 1, 5)]}, "thing.at is timestamptz: times have no zone"),  # noqa: DTZ001
        ({"id": ["a"], "meta": [{"x": float("nan")}]}, "thing.meta is jsonb: Out of range float values"),
    ],
)
def test_value_that_does_not_fit_names_its_column(
    thing: psycopg.Connection[Any], frame: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        db.copy_frame(thing, "thing", pd.DataFrame(frame))


def test_frames_written_meanwhile_arrive_in_order_and_all_of_them(thing: psycopg.Connection[Any]) -> None:
    frames = [pd.DataFrame({"id": [f"{n:02}a", f"{n:02}b"], "whole": [n, -n]}) for n in range(20)]
    with db.writing(thing) as write:
        for frame in frames:
            write("thing", frame)
    found = thing.execute("select id, whole from thing order by ctid").fetchall()
    assert found == [(row.id, row.whole) for frame in frames for row in frame.itertuples()]


@pytest.mark.parametrize("ids", [["a", "a"], ["a", "b", "a", "c"]])
def test_an_error_of_a_frame_written_meanwhile_is_raised(thing: psycopg.Connection[Any], ids: list[str]) -> None:
    """Also that of the last one, after which nothing waits: a day without its rows would be committed."""

    def write_all() -> None:
        with thing.transaction(), db.writing(thing) as write:
            for each in ids:
                write("thing", pd.DataFrame({"id": [each]}))

    with pytest.raises(psycopg.errors.UniqueViolation):
        write_all()
    assert thing.execute("select id from thing").fetchall() == []


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of a statement that `db.sql("query")` finds."""
    monkeypatch.setattr("irt_analytics.db.statements.SQL_ROOT", tmp_path)
    db.sql.cache_clear()
    return tmp_path / "query.sql"


def test_read_frame_gives_back_what_was_written(thing: psycopg.Connection[Any], query: Path) -> None:
    db.copy_frame(thing, "thing", FRAME)
    query.write_text("select *, %(more)s::text as more, 'a%%b' as percent from thing order by whole", encoding="utf-8")
    frame = db.read_frame(thing, "query", more="it's")
    assert frame["more"].tolist() == ["it's"] * 3
    assert frame["percent"].tolist() == ["a%b"] * 3
    expected = FRAME.iloc[[0, 2, 1]].reset_index(drop=True)
    np.testing.assert_array_equal(frame["number"].to_numpy(dtype=float), expected["number"].to_numpy())
    assert frame["id"].tolist() == expected["id"].tolist()
    assert frame["big"].dtype == pd.ArrowDtype(pa.int64())
    assert frame["day"].dtype == pd.ArrowDtype(pa.date32())
    assert frame["at"].dtype == pd.ArrowDtype(pa.timestamp("us", "UTC"))
    assert frame["tags"][0] == ["a", 'b"c'] or frame["tags"][0].tolist() == ["a", 'b"c']
    assert frame["meta"][1] == {"already": "json"}
    assert frame["number"].isna().tolist() == [False, False, True]
    # ... and a frame that was read can be written.
    thing.execute("delete from thing")
    assert db.copy_frame(thing, "thing", frame.drop(columns=["more", "percent"])) == 3


def test_empty_result_keeps_its_columns_and_types(thing: psycopg.Connection[Any], query: Path) -> None:
    query.write_text("select id, avg(whole) as mean from thing group by id", encoding="utf-8")
    frame = db.read_frame(thing, "query")
    assert frame.dtypes.to_dict() == {"id": pd.ArrowDtype(pa.string()), "mean": pd.ArrowDtype(pa.float64())}
    assert frame.empty


def test_read_arrow_binds_hostile_texts_as_texts(
    connection: psycopg.Connection[Any], settings: Settings, query: Path
) -> None:
    connection.execute(COLUMNS)
    db.copy_frame(connection, "thing", FRAME)
    connection.commit()
    hostile = "'; drop table thing; -- %s \\' 한"
    query.write_text(
        "select id, number, at, %(text)s::text as text, 'a%%b' as percent from thing where day = any(%(days)s) "
        "or day = %(day)s order by whole",
        encoding="utf-8",
    )
    table = db.read_arrow(settings, "query", text=hostile, days=[date(2026, 1, 5)], day=date(1999, 12, 31))
    assert table.column("text").to_pylist() == [hostile] * 2
    assert table.column("percent").to_pylist() == ["a%b"] * 2
    assert table.column("number").to_pylist() == [0.1, -1e-300]
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")


def test_parts_of_a_query_see_the_same_state(settings: Settings, query: Path) -> None:
    """Half of the learners as they were before a correction of the log and half after it is a state that never was."""
    query.write_text("select %(part)s::int as part, count(*) as n from correction", encoding="utf-8")
    stop = threading.Event()
    with db.connect(settings, autocommit=True) as writer:
        writer.execute("create table correction (n int)")

        def correct() -> None:
            while not stop.is_set():
                writer.execute("insert into correction values (1)")

        correcting = threading.Thread(target=correct)
        correcting.start()
        try:
            for _ in range(3):
                with db.reading(settings, "query", parts=[{"part": part} for part in range(4)]) as parts:
                    rows = [pa.Table.from_batches(part).to_pylist() for part in parts]
                assert [[row["part"] for row in part] for part in rows] == [[0], [1], [2], [3]]
                assert len({row["n"] for part in rows for row in part}) == 1
        finally:
            stop.set()
            correcting.join()


def kpi_rows(users: list[str], as_of: date, a_t: float) -> pd.DataFrame:
    monday = as_of - pd.Timedelta(days=as_of.weekday())
    few = {"i_t_reason": "few", "e_t_reason": "few", "r_t_reason": "few"}
    return pd.DataFrame({"user_id": users, "week_start": monday, "a_t": a_t, "a_t_source": "sessions", **few}).assign(
        as_of=as_of, reconstructed=False
    )


def test_replace_replaces_exactly_its_tenant_and_day(transaction: psycopg.Connection[Any]) -> None:
    """A rerun of one day must leave every other day, and every other tenant, as it is."""
    monday, tuesday = date(2026, 3, 30), date(2026, 3, 31)
    for tenant in ("a", "b"):
        for day in (monday, tuesday):
            db.replace(transaction, "weekly_kpi", kpi_rows(["u1", "u2"], day, 0.25), tenant_id=tenant, as_of=day)
    written = db.replace(transaction, "weekly_kpi", kpi_rows(["u1"], tuesday, 0.75), tenant_id="a", as_of=tuesday)
    assert written == 1
    rows = transaction.execute("select tenant_id, as_of, user_id, a_t from weekly_kpi order by 1, 2, 3").fetchall()
    assert rows == [
        ("a", monday, "u1", 0.25),
        ("a", monday, "u2", 0.25),
        ("a", tuesday, "u1", 0.75),
        *[("b", day, user, 0.25) for day in (monday, tuesday) for user in ("u1", "u2")],
    ]


def test_replace_refuses_rows_of_another_day(transaction: psycopg.Connection[Any]) -> None:
    with pytest.raises(ValueError, match=r"weekly_kpi\.as_of: every row must have the key .* some have another"):
        db.replace(
            transaction,
            "weekly_kpi",
            kpi_rows(["u"], date(2026, 3, 30), 0.5),
            tenant_id="a",
            as_of=date(2026, 3, 31),
        )


def test_replace_by_nothing_empties_the_day(transaction: psycopg.Connection[Any]) -> None:
    day = date(2026, 3, 30)
    db.replace(transaction, "weekly_kpi", kpi_rows(["u"], day, 0.5), tenant_id="a", as_of=day)
    assert db.replace(transaction, "weekly_kpi", kpi_rows([], day, 0.5), tenant_id="a", as_of=day) == 0
    assert transaction.execute("select count(*) from weekly_kpi").fetchone() == (0,)


def test_every_partitioned_table_gets_the_month_s_partition(transaction: psycopg.Connection[Any]) -> None:
    db.ensure_partitions(transaction, [date(2026, 1, 31), date(2026, 1, 1), date(2025, 12, 31)])
    missing = transaction.execute(
        """
        select relname, month
        from pg_class
        cross join unnest(array['2025_12', '2026_01']) as month
        where relkind = 'p' and to_regclass(relname || '_' || month) is null
        """
    ).fetchall()
    assert missing == []
    count = transaction.execute("select count(*) from pg_class where relkind = 'p'").fetchone()
    assert count is not None
    assert count[0] >= 6


def test_partitions_made_by_two_jobs_at_once(settings: Settings) -> None:
    """The second job waits for the first one's transaction, then finds the partitions there."""
    day = date(2026, 5, 1)
    seen, done = threading.Event(), threading.Event()

    def second() -> None:
        with db.connect(settings) as other:
            other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            other.execute("select count(*) from weekly_kpi")  # from here on it sees no later commit
            seen.set()
            db.replace(other, "weekly_kpi", kpi_rows(["second"], day, 0.5), tenant_id="b", as_of=day)
            other.commit()
        done.set()

    with db.connect(settings) as first:
        db.replace(first, "weekly_kpi", kpi_rows(["first"], day, 0.5), tenant_id="a", as_of=day)
        thread = threading.Thread(target=second)
        thread.start()
        assert seen.wait(timeout=60)
        assert not done.wait(0.5)
        first.commit()
        thread.join(timeout=60)
        assert done.is_set()
        assert first.execute("select user_id from weekly_kpi order by user_id").fetchall() == [("first",), ("second",)]


def test_new_partitions_keep_nobody_from_reading_or_writing_others(settings: Settings) -> None:
    """A job's transaction stays open for minutes; another tenant's job must not wait for it."""
    may, june = date(2026, 5, 1), date(2026, 6, 1)
    with db.connect(settings) as connection:
        db.ensure_partitions(connection, [may])
        connection.commit()
    with db.connect(settings) as slow, db.connect(settings) as other:
        db.ensure_partitions(slow, [june])
        other.execute("set lock_timeout = '5s'")
        db.replace(other, "weekly_kpi", kpi_rows(["u"], may, 0.5), tenant_id="b", as_of=may)
        assert other.execute("select user_id from weekly_kpi").fetchall() == [("u",)]


def test_days_are_read_from_their_month_s_partition_only(transaction: psycopg.Connection[Any]) -> None:
    db.ensure_partitions(transaction, [date(2026, month, 1) for month in range(1, 7)])
    plan = "\n".join(
        row[0]
        for row in transaction.execute(
            "explain select * from weekly_kpi where tenant_id = 'a' and as_of = '2026-03-30'"
        )
    )
    assert "weekly_kpi_2026_03" in plan
    assert "weekly_kpi_2026_02" not in plan
