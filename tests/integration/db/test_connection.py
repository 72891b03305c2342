"""Connecting to the product's database."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.databases import database_of, settings_of
from tests.integration import runner_jobs
from tests.integration.runner_jobs import AS_OF

from irt_analytics import db
from irt_analytics.db.connection import unconnected
from irt_analytics.demo.postgres import get_server
from irt_analytics.demo.processes import free_port
from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.params import RunParams
from irt_analytics.runner import Job, run_job
from irt_analytics.settings import Settings


def test_days_are_utc_days_whatever_the_server_is_set_to(connection: psycopg.Connection[Any]) -> None:
    assert connection.execute("show timezone").fetchone() == ("UTC",)


@pytest.fixture
def over_tcp() -> Iterator[Settings]:
    """Settings for a server that is reached by TCP, as in production; the tests' own one has a socket only."""
    folder = Path(tempfile.mkdtemp(prefix="irt-test-"))
    data, port = folder / "data", free_port()
    server = get_server(data, cleanup_mode="stop")
    server.stop()
    options = f"-h 127.0.0.1 -p {port} -k {data} -c fsync=off"
    pg_ctl = (server.bin_path / "pg_ctl", "-D", data, "-l", data / "log", "-w", "-o", options)
    subprocess.run([*pg_ctl, "start"], check=True, stdout=subprocess.DEVNULL, user=server.system_user)
    yield settings_of(f"postgresql://postgres@127.0.0.1:{port}/postgres")
    subprocess.run([*pg_ctl, "stop"], check=True, stdout=subprocess.DEVNULL, user=server.system_user)
    shutil.rmtree(folder)


WATCH = """
    select name, setting from pg_settings
    where name like 'tcp_keepalives%' or name = 'client_connection_check_interval' or name = 'TimeZone'
"""


def test_the_server_notices_within_two_minutes_that_a_pod_has_vanished(over_tcp: Settings, tmp_path: Path) -> None:
    """The pod's lock would keep every retry away for two hours, the server's default, and its query would run on."""
    expected = {
        "TimeZone": "UTC",
        "client_connection_check_interval": "10000",
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "60",
        "tcp_keepalives_interval": "10",
    }
    with db.connect(over_tcp) as connection:
        assert dict(connection.execute(WATCH).fetchall()) == expected
        parameters = connection.info.get_parameters()
    assert {name: value for name, value in parameters.items() if name.startswith("keepalives_")} == {
        "keepalives_idle": "60",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    (tmp_path / "watch.sql").write_text(WATCH)
    rows = db.read_arrow(over_tcp, str(tmp_path / "watch")).to_pylist()
    assert {row["name"]: row["setting"] for row in rows} == expected


def test_keepalives_of_the_url_win(database_url: str) -> None:
    with db.connect(settings_of(f"{database_url}&keepalives_idle=7")) as connection:
        assert connection.info.get_parameters()["keepalives_idle"] == "7"


def test_unreachable_database_is_retried_and_named_without_its_password() -> None:
    settings = settings_of("postgresql://analyst:hunter2@127.0.0.1:1/answers")
    with pytest.raises(TemporaryError, match=r"database 127\.0\.0\.1:1/answers is unreachable") as error:
        db.connect(settings)
    assert "hunter2" not in str(error.value)


def test_bulk_read_from_an_unreachable_database_is_retried_too() -> None:
    settings = settings_of("postgresql://analyst:hunter2@127.0.0.1:1/answers")
    with pytest.raises(TemporaryError, match=r"database 127\.0\.0\.1:1/answers is unreachable") as error:
        db.read_arrow(settings, "sources/flat")
    assert "hunter2" not in str(error.value)


REFUSED = r"^DATABASE_URL \(connection seedtest_db\): the database .* refuses it: .*"


def guarded(url: str, role: str, password: str) -> Settings:
    """Settings of the same database as another role."""
    return settings_of(psycopg.conninfo.make_conninfo(url, user=role, password=password))


def test_a_wrong_password_names_the_connection_and_is_not_tried_again(
    database_url: str, guarded_role: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Ten minutes of retries hide what a person has to mend, and may lock the account."""
    role, password = guarded_role
    with db.connect(guarded(database_url, role, password)) as connection:
        assert connection.info.user == role
    wrong = guarded(database_url, role, "hunter2")
    for connect in (lambda: db.connect(wrong), lambda: db.read_arrow(wrong, "sources/flat")):
        with pytest.raises(
            ConfigurationError, match=REFUSED + f'password authentication failed for user "{role}"'
        ) as error:
            connect()
        assert "hunter2" not in str(error.value)
    job = Job("toy", runner_jobs.write)
    assert run_job(job, tenant="school", as_of=AS_OF, params=RunParams(), settings=wrong) == 64
    assert "connection seedtest_db" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("prepare", "role", "said"),
    [
        ("select", "nobody", 'role "nobody" does not exist'),
        ("create role no_login", "no_login", 'role "no_login" is not permitted to log in'),
        ("create role stranger login", "stranger", "permission denied for database"),
    ],
)
def test_a_role_that_may_not_connect_is_not_tried_again(database_url: str, prepare: str, role: str, said: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(prepare.encode())
        owner.execute(
            psycopg.sql.SQL("revoke connect on database {} from public").format(
                psycopg.sql.Identifier(owner.info.dbname)
            )
        )
        try:
            with pytest.raises(ConfigurationError, match=REFUSED + said):
                db.connect(guarded(database_url, role, ""))
        finally:
            owner.execute(psycopg.sql.SQL("drop role if exists {}").format(psycopg.sql.Identifier(role)))


def test_a_server_that_starts_is_tried_again() -> None:
    """What it says then is an error of the server, too, but one that passes."""
    said = psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")
    assert isinstance(unconnected(settings_of("postgresql://u@h/d"), said), TemporaryError)


def test_misspelt_database_fails_at_once_instead_of_being_retried(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match=REFUSED + 'database "no_such_database" does not exist'):
        db.connect(settings_of(database_of(postgres_url, "no_such_database")))


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@host:5432/db?sslmod", "hunter2"])
def test_malformed_url_says_what_is_expected_and_keeps_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL cannot be read: expected postgresql://") as error:
        db.connect(settings_of(url))
    assert "hunter2" not in str(error.value)
