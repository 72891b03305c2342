"""The schema itself: documented, constrained, migrated whole or not at all."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.databases import settings_of

from irt_analytics import db
from irt_analytics.db.migrations import MIGRATIONS
from irt_analytics.db.sources import define_attempt_view

INCLUDE = Path(db.__file__).parents[2]

DAY = date(2026, 1, 7)  # a Wednesday
MONDAY = date(2026, 1, 5)

#: A row of each partitioned table that its constraints accept.
VALID: dict[str, dict[str, Any]] = {
    "mirt_ability": {
        "user_id": "u", "as_of": DAY, "theta": 0.1, "se": 0.3, "n_responses": 9, "method": "EAP", "run_id": "r",
    },
    "student_week_theta": {
        "user_id": "u", "week_start": MONDAY, "as_of": DAY, "m": 0.1, "s": 0.5, "v": 1 / 3, "y": 0.13, "mu0": 0.0,
        "sd0": 1.0, "n": 3, "run_id": "r", "reconstructed": False,
    },
    "student_topic_theta": {
        "user_id": "u", "topic_id": "t", "as_of": DAY, "theta": 0.1, "se": 0.3, "n_responses": 9, "prior_mean": 0.0,
        "prior_sd": 0.5, "tau": 0.2, "run_id": "r",
    },
    "features_topic_daily": {
        "user_id": "u", "topic_id": "t", "date": DAY, "as_of": DAY, "attempts": 2, "correct": 1, "first_attempts": 2,
        "reconstructed": False,
    },
    "weekly_kpi": {
        "user_id": "u", "week_start": MONDAY, "as_of": DAY, "i_t_reason": "few", "a_t_reason": "few",
        "e_t_reason": "few", "r_t_reason": "few", "reconstructed": False,
    },
    "user_segments": {
        "user_id": "u", "as_of": DAY, "week_start": MONDAY, "run_id": "r", "label": "improving", "cluster": 0,
        "membership": 0.9, "distance": 1.0,
    },
}  # fmt: skip

OWN_RELATIONS = """
    select class.oid, class.relname, class.relkind
    from pg_class as class
    where
        class.relnamespace = current_schema()::regnamespace
        and class.relkind in ('r', 'p', 'v')
        and class.relname not like '%yoyo%'
"""


@pytest.fixture
def connection(transaction: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """No test here commits."""
    return transaction


def test_every_table_view_and_column_says_what_it_means(connection: psycopg.Connection[Any]) -> None:
    db.ensure_partitions(connection, [DAY])
    undocumented = connection.execute(
        f"""
        with relation as ({OWN_RELATIONS})
        select relname, attname
        from relation
        join pg_attribute on attrelid = oid and attnum > 0 and not attisdropped
        where col_description(oid, attnum) is null
        union all
        select relname, null from relation where obj_description(oid, 'pg_class') is null
        """.encode()
    ).fetchall()
    assert undocumented == []
    count = connection.execute(f"select count(*) from ({OWN_RELATIONS}) as relation".encode()).fetchone()
    assert count is not None
    assert count[0] > 20


def test_every_function_says_what_it_does(connection: psycopg.Connection[Any]) -> None:
    rows = connection.execute(
        """
        select proname, obj_description(oid, 'pg_proc')
        from pg_proc
        where pronamespace = current_schema()::regnamespace
        """
    ).fetchall()
    assert {"published_items", "ensure_partitions"} <= {name for name, _ in rows}
    assert [name for name, description in rows if description is None] == []


def test_tenant_is_the_first_key_column_of_every_table(connection: psycopg.Connection[Any]) -> None:
    """A query for one tenant would otherwise read everybody's rows."""
    rows = connection.execute(
        f"""
        with relation as ({OWN_RELATIONS})
        select relname, attname
        from relation
        join pg_index on indrelid = oid and indisprimary
        join pg_attribute on attrelid = oid and attnum = indkey[0]
        where relkind in ('r', 'p')
        """.encode()
    ).fetchall()
    assert {name for name, first in rows if first != "tenant_id"} == {"job_run"}  # numbered
    assert len(rows) > 12


def test_yesterday_s_bank_is_what_a_rerun_of_yesterday_reads(connection: psycopg.Connection[Any]) -> None:
    for tenant, run, as_of, published in (
        ("a", "first", "2026-01-05", True),
        ("a", "refused", "2026-01-06", False),
        ("a", "second", "2026-01-07", True),
        ("b", "other", "2026-01-01", True),
    ):
        add_fit(connection, tenant, run, as_of, published=published)
        add_item(connection, tenant, run)
    read = {
        day: connection.execute(
            "select run_id, as_of::text, item_id, b, latent_sd from published_items('a', %s)", (day,)
        ).fetchall()
        for day in ("2026-01-04", "2026-01-05", "2026-01-06", "2026-01-07", "2027-01-01")
    }
    first = [("first", "2026-01-05", "q1", 0.5, 1.0)]
    second = [("second", "2026-01-07", "q1", 0.5, 1.0)]
    assert read == {
        "2026-01-04": [],
        "2026-01-05": first,
        "2026-01-06": first,
        "2026-01-07": second,
        "2027-01-01": second,
    }
    current = connection.execute("select tenant_id, run_id from mirt_item_params_current order by tenant_id").fetchall()
    assert current == [("a", "second"), ("b", "other")]


def test_bank_in_force_shows_all_that_jobs_read_of_it(connection: psycopg.Connection[Any]) -> None:
    """Who works from the view would otherwise lack the covariances without which no link has an error."""
    add_fit(connection, "a", "one", "2026-01-05", published=True)
    add_item(connection, "a", "one")
    connection.execute("update mirt_item_params set cov_ab = 0.25, reference_as_of = '2026-01-05'")
    shown, read = (
        connection.execute(f"select to_jsonb(item) from {source} as item".encode()).fetchall()
        for source in ("mirt_item_params_current", "published_items('a', '2026-01-05')")
    )
    assert shown == read
    assert shown[0][0]["cov_ab"] == 0.25


def test_decisions_of_people_stay_as_they_were_written(connection: psycopg.Connection[Any]) -> None:
    """Whoever asks a year later why a scale moved has nothing but this table."""
    connection.execute(
        """
        insert into publishing_decision (run_id, as_of, decision, reason, decided_by, code_version)
        values ('r', '2026-01-05', 'publish', 'a new term', 'ada', '3.0.0')
        """
    )
    for change in ("update publishing_decision set reason = 'x'", "delete from publishing_decision"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="are only added"), connection.transaction():
            connection.execute(change.encode())
    assert connection.execute("select reason, db_user = current_user from publishing_decision").fetchall() == [
        ("a new term", True)
    ]


def test_one_day_publishes_one_calibration(connection: psycopg.Connection[Any]) -> None:
    add_fit(connection, "a", "one", "2026-01-05", published=True)
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_published_a_day"):
        add_fit(connection, "a", "two", "2026-01-05", published=True)


def test_live_kpi_rows_win_over_reconstructed_ones_in_the_current_view(connection: psycopg.Connection[Any]) -> None:
    """A week's S, P and sigma are on its live rows only: a reconstruction in their place would hide them."""
    db.ensure_partitions(connection, [date(2026, 1, 1), date(2026, 2, 1)])
    for as_of in ("2026-01-06", "2026-01-09", "2026-02-02"):
        connection.execute(
            """
            insert into weekly_kpi (
                user_id, week_start, as_of, i_t_reason, a_t_reason, e_t_reason, r_t_reason, reconstructed
            )
            values ('u', '2026-01-05', %s, 'few', 'few', 'few', 'few', %s)
            """,
            (as_of, as_of > "2026-01-11"),
        )
    assert connection.execute("select as_of::text from weekly_kpi_current").fetchall() == [("2026-01-09",)]


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        ("mirt_ability", {"theta": float("nan")}, "mirt_ability_theta"),
        ("mirt_ability", {"se": 0.0}, "mirt_ability_se"),
        ("mirt_ability", {"method": "guess"}, "mirt_ability_method"),
        ("student_week_theta", {"week_start": "2026-01-06"}, "student_week_theta_monday"),
        ("student_week_theta", {"reconstructed": True}, "student_week_theta_reconstructed"),
        ("student_week_theta", {"v": None, "y": None}, "student_week_theta_likelihood"),
        ("features_topic_daily", {"correct": 3}, "features_topic_daily_counts"),
        ("features_topic_daily", {"date": "2026-01-08"}, "features_topic_daily_day"),
        ("features_topic_daily", {"theta_mean": 0.1}, "features_topic_daily_theta"),
        ("weekly_kpi", {"i_t_reason": None}, "weekly_kpi_i_t_reason"),
        ("weekly_kpi", {"a_t": 1.5, "a_t_reason": None, "a_t_source": "sessions"}, "weekly_kpi_a_t"),
        ("weekly_kpi", {"r_t_lower": 0.8, "r_t_upper": 0.2}, "weekly_kpi_r_t"),
        ("weekly_kpi", {"s": 0.5, "s_lower": 0.6, "s_upper": 0.7}, "weekly_kpi_s"),
        ("user_segments", {"membership": 1.1}, "user_segments_membership"),
    ],
)
def test_impossible_values_are_refused_by_the_table(
    connection: psycopg.Connection[Any], table: str, values: dict[str, Any], constraint: str
) -> None:
    db.ensure_partitions(connection, [DAY])
    insert(connection, table, VALID[table])
    connection.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))
    with pytest.raises(psycopg.errors.CheckViolation, match=f'"{constraint}"'):
        insert(connection, table, VALID[table] | values)


def test_items_go_with_their_calibration(connection: psycopg.Connection[Any]) -> None:
    add_fit(connection, "a", "one", "2026-01-05", published=False)
    add_item(connection, "a", "one")
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        add_item(connection, "b", "one")
    connection.execute("delete from mirt_fit_meta where tenant_id = 'a'")
    assert connection.execute("select count(*) from mirt_item_params").fetchone() == (0,)


def test_two_tenants_with_the_same_ids_are_two_rows_everywhere(connection: psycopg.Connection[Any]) -> None:
    db.ensure_partitions(connection, [DAY])
    for tenant in ("a", "b"):
        add_fit(connection, tenant, "same", "2026-01-05", published=True)
        add_item(connection, tenant, "same")
        for table, row in VALID.items():
            insert(connection, table, row | {"tenant_id": tenant})
    for view in ("mirt_item_params_current", "mirt_ability_current", "weekly_kpi_current"):
        query = sql.SQL("select tenant_id from {} order by tenant_id").format(sql.Identifier(view))
        assert connection.execute(query).fetchall() == [("a",), ("b",)]


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    with db.connect(settings_of(empty_database_url)) as connection:
        assert db.migrate(connection) == [path.stem for path in sorted(MIGRATIONS.glob("*.sql"))]
        connection.commit()
        before = catalog(connection)
        assert db.migrate(connection) == []
        connection.commit()
        assert catalog(connection) == before


def test_migration_that_would_commit_on_its_own_is_refused(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed after it could not be taken back."""
    (tmp_path / "0001.outside.sql").write_text("-- transactional: false\ncreate table outside (x int);")
    monkeypatch.setattr("irt_analytics.db.migrations.MIGRATIONS", tmp_path)
    with (
        db.connect(settings_of(empty_database_url)) as connection,
        pytest.raises(ValueError, match=r"migration 0001\.outside: expected statements that can run in a transaction"),
    ):
        db.migrate(connection)


def test_failed_migration_leaves_nothing_behind(empty_database_url: str) -> None:
    settings = settings_of(empty_database_url)
    with db.connect(settings) as connection:
        connection.execute("create table weekly_kpi (other text)")
        connection.commit()
        before = catalog(connection)
        with pytest.raises(psycopg.errors.DuplicateTable):
            db.migrate(connection)
        connection.rollback()
        assert catalog(connection) == before


def test_prepare_schema_killed_in_the_middle_leaves_nothing_and_runs_again(empty_database_url: str) -> None:
    """SIGKILL leaves no half-made schema and no lock that somebody would have to break by hand."""
    stop_before_commit = textwrap.dedent(
        """
        import sys, time
        from irt_analytics.jobs import prepare_schema
        from irt_analytics import cli

        define = prepare_schema.define_attempt_view

        def define_and_wait(connection, source):
            define(connection, source)
            print("defined", flush=True)
            time.sleep(60)

        prepare_schema.define_attempt_view = define_and_wait
        cli.main()
        """
    )
    arguments = ["prepare_schema", "--as-of", "2026-01-07"]
    environment = os.environ | {"DATABASE_URL": empty_database_url, "PYTHONPATH": str(INCLUDE)}
    with subprocess.Popen(
        [sys.executable, "-c", stop_before_commit, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "defined\n"
        killed.send_signal(signal.SIGKILL)
    wait_until_alone(empty_database_url)
    with db.connect(settings_of(empty_database_url)) as connection:
        assert catalog(connection) == []

    again = subprocess.run(
        [sys.executable, "-m", "irt_analytics", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    with db.connect(settings_of(empty_database_url)) as connection:
        assert connection.execute("select count(*) from attempt").fetchone() == (0,)
        assert connection.execute("select job, status from job_run").fetchall() == [("prepare_schema", "success")]


def test_first_run_with_a_source_that_does_not_fit_says_so(empty_database_url: str) -> None:
    """Bad configuration ends with 64 and its words, also where there is no table job_run yet to record it."""
    environment = os.environ | {"DATABASE_URL": empty_database_url, "PYTHONPATH": str(INCLUDE)}
    command = [sys.executable, "-m", "irt_analytics", "prepare_schema", "--as-of", "2026-01-07"]
    run = subprocess.run(
        command, env=environment | {"ATTEMPT_SOURCE": "exam_jsonb"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 64
    assert 'reads a table that this database lacks: relation "exam_result" does not exist' in run.stderr
    with db.connect(settings_of(empty_database_url)) as connection:
        assert catalog(connection) == []


def test_schema_of_an_ordinary_user_without_superuser_rights(empty_database_url: str) -> None:
    """Managed PostgreSQL hands out no superuser, and some platforms keep one schema a product."""
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute("drop role if exists plain")
        admin.execute("create role plain login nosuperuser")
        admin.execute("create schema product authorization plain")
        admin.execute("alter role plain set search_path = product")
    settings = settings_of(empty_database_url.replace("postgres:@", "plain:@"))
    with db.connect(settings) as connection:
        db.migrate(connection)
        define_attempt_view(connection, "flat")
        db.ensure_partitions(connection, [DAY])
        connection.commit()
        assert ("product", "weekly_kpi_2026_01") in [(row[0], row[1]) for row in catalog(connection)]
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute("drop owned by plain")
        admin.execute("drop role plain")


def catalog(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Every relation of this product: its schema, name, kind, columns and comment."""
    return connection.execute(
        """
        select
            relnamespace::regnamespace::text,
            relname,
            relkind,
            array(select attname || atttypid::regtype from pg_attribute where attrelid = oid and attnum > 0),
            obj_description(oid, 'pg_class')
        from pg_class
        where relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
        order by 1, 2
        """
    ).fetchall()


def wait_until_alone(url: str) -> None:
    """Wait for the server to notice that a killed client is gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(200):
            row = connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            ).fetchone()
            if row == (0,):
                return
            time.sleep(0.05)
    pytest.fail("the killed client's session is still there")


def insert(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        ),
        row,
    )


def add_fit(connection: psycopg.Connection[Any], tenant: str, run: str, as_of: str, *, published: bool) -> None:
    row: dict[str, Any] = {
        "tenant_id": tenant,
        "run_id": run,
        "as_of": as_of,
        "window_start": "2025-12-20",
        "window_end": as_of,
        "window_extended": False,
        "model": "2PL",
        "engine": "native",
        "engine_version": "1",
        "code_version": "1",
        "data_fingerprint": "0",
        "n_persons": 10,
        "n_items": 1,
        "n_responses": 10,
        "converged": True,
        "iterations": 5,
        "latent_mean": 0.0,
        "latent_sd": 1.0,
        "priors": "weak",
        "published": published,
        "published_at_as_of": as_of if published else None,
        "reason": None if published else "did not converge",
    }
    insert(connection, "mirt_fit_meta", row)


def add_item(connection: psycopg.Connection[Any], tenant: str, run: str) -> None:
    item = {"tenant_id": tenant, "run_id": run, "item_id": "q1", "a": 1.0, "b": 0.5, "n_responses": 10}
    insert(connection, "mirt_item_params", item | {"anchor": False, "status": "estimated"})
