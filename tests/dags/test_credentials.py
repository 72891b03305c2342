"""From Airflow connections to what jobs read."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException

from irt_airflow.credentials import credentials, database_url, r_service, report_store


def connection(connection_id: str = "seedtest_db", **fields: Any) -> Connection:
    return Connection(conn_id=connection_id, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"host": "db.internal", "port": 6432, "login": "analyst", "password": "p/w@:%#? 한", "schema": "answers"},
            {"host": "db.internal", "port": "6432", "user": "analyst", "password": "p/w@:%#? 한", "dbname": "answers"},
        ),
        (
            {"host": "/run/post gres", "login": "postgres", "schema": "ans/wers", "port": 5433},
            {"host": "/run/post gres", "user": "postgres", "dbname": "ans/wers", "port": "5433"},
        ),
        (
            {"host": "fd00::17", "login": "a@b", "schema": "answers", "extra": json.dumps({"sslmode": "verify-full"})},
            {"host": "fd00::17", "user": "a@b", "dbname": "answers", "sslmode": "verify-full"},
        ),
        (
            {"host": "db", "schema": "answers", "extra": json.dumps({"cursor": "dictcursor", "connect_timeout": 5})},
            {"host": "db", "dbname": "answers", "connect_timeout": "5"},
        ),
    ],
    ids=["special characters", "socket folder", "IPv6 and TLS", "extras of Airflow's hook are dropped"],
)
def test_database_url_means_to_libpq_what_the_connection_says(fields: dict[str, Any], expected: dict[str, str]) -> None:
    url = database_url(connection(conn_type="postgres", **fields))
    assert psycopg.conninfo.conninfo_to_dict(url) == expected


def test_connection_written_as_a_uri_with_its_socket_in_the_query() -> None:
    given = Connection.from_uri("postgresql://postgres@/answers?host=%2Frun%2Fpg", conn_id="seedtest_db")
    assert psycopg.conninfo.conninfo_to_dict(database_url(given)) == {
        "user": "postgres",
        "dbname": "answers",
        "host": "/run/pg",
    }


def test_store_on_s3_brings_its_keys_region_and_endpoint() -> None:
    extra = {"url": "s3://reports/weekly", "region_name": "ap-northeast-2", "endpoint_url": "https://minio:9000"}
    given = connection("report_store", conn_type="aws", login="AKIA", password="secret/key", extra=json.dumps(extra))
    assert report_store(given) == {
        "REPORT_STORE_URL": "s3://reports/weekly",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret/key",
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_ENDPOINT_URL": "https://minio:9000",
    }


def test_storage_options_reach_fsspec_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import set_conf_env

    extra = {"url": "memory://reports", "storage_options": {"token": "s3cr3t"}}
    environment = report_store(connection("report_store", conn_type="generic", extra=json.dumps(extra)))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found: dict[str, dict[str, str]] = {}
    set_conf_env(found)
    assert found["memory"] == {"token": "s3cr3t"}


@pytest.mark.parametrize("extra", [{}, {"url": ""}, {"url": "/srv/reports"}])
def test_store_without_an_address_says_what_is_expected(extra: dict[str, str]) -> None:
    given = connection("report_store", conn_type="generic", extra=json.dumps(extra))
    with pytest.raises(AirflowFailException, match=r"'report_store': its extra `url` is .*expected the folder"):
        report_store(given)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "r-glmm-plumber", "port": 8000}, "http://r-glmm-plumber:8000"),
        ({"host": "glmm.internal", "schema": "https"}, "https://glmm.internal"),
        ({"host": "https://glmm.internal/", "port": 8443}, "https://glmm.internal:8443"),
        ({"host": "fd00::17", "port": 8000}, "http://[fd00::17]:8000"),
    ],
)
def test_r_service_brings_its_address_and_its_token(fields: dict[str, Any], url: str) -> None:
    """An address put together wrong is found out at 03:00, after four retries."""
    given = connection("r_glmm", conn_type="http", password="t0ken/+=", **fields)
    assert r_service(given) == {"R_GLMM_URL": url, "R_GLMM_TOKEN": "t0ken/+="}


def test_r_service_that_cannot_be_had_brings_the_reason_and_no_address() -> None:
    """Its jobs end as recorded skips that say why, instead of failing every night."""
    given = connection("r_brms", conn_type="http", extra=json.dumps({"unavailable": "R is not installed"}))
    assert r_service(given) == {"R_BRMS_UNAVAILABLE": "R is not installed"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "'r_irt' has no host; expected the address"),
        ({"host": "r-irt-plumber"}, "'r_irt' has no password; .* its token as password"),
        ({"extra": json.dumps({"unavailable": ""})}, "its extra `unavailable` is ''; expected the reason"),
        ({"extra": json.dumps({"unavailable": True})}, "its extra `unavailable` is True; expected the reason"),
    ],
)
def test_r_service_without_address_or_token_says_what_is_expected(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(AirflowFailException, match=expected):
        r_service(connection("r_irt", conn_type="http", **fields))


def test_job_reads_the_settings_that_a_connection_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a name to differ between Airflow's side and the job's, every branch would end with exit code 64."""
    from irt_analytics.clients import address
    from irt_analytics.settings import load_settings

    monkeypatch.setenv("DATABASE_URL", "postgresql:///x")
    for name in ("irt", "glmm", "forecast", "brms"):
        given = connection(f"r_{name}", conn_type="http", host="127.0.0.1", port=8000, password=f"token-of-{name}")
        for variable, value in r_service(given).items():
            monkeypatch.setenv(variable, value)
        found = address(load_settings(), name)
        assert (found.url, found.token.get_secret_value()) == ("http://127.0.0.1:8000", given.password)


def test_connection_of_the_wrong_type_is_named() -> None:
    with pytest.raises(AirflowFailException, match="'seedtest_db' has the type 'mysql'; expected postgres"):
        database_url(connection(conn_type="mysql", host="db"))


def test_missing_connection_is_named_and_not_retried() -> None:
    with pytest.raises(AirflowFailException, match=r"no connection 'seedtest_db'.*AIRFLOW_CONN_SEEDTEST_DB"):
        credentials(["seedtest_db"])


def test_rotated_value_reaches_the_next_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lookup that is cached would keep a revoked password until every worker restarts."""
    file = tmp_path / "connections.json"
    options = {"connections_file_path": str(file)}
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    for section in ("SECRETS", "WORKERS"):
        monkeypatch.setenv(f"AIRFLOW__{section}__{'SECRETS_' if section == 'WORKERS' else ''}BACKEND", backend)
        kwargs = f"AIRFLOW__{section}__{'SECRETS_' if section == 'WORKERS' else ''}BACKEND_KWARGS"
        monkeypatch.setenv(kwargs, json.dumps(options))
    for password in ("old", "new"):
        fields = {"conn_type": "postgres", "host": "db", "login": "u", "password": password, "schema": "x"}
        file.write_text(json.dumps({"seedtest_db": fields}))
        assert credentials(["seedtest_db"]) == {"DATABASE_URL": f"postgresql://u:{password}@db/x"}
