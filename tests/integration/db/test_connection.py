"""Connecting to the product's database."""

from typing import Any

import psycopg
import pytest
from tests.databases import database_of, settings_of

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, TemporaryError


def test_days_are_utc_days_whatever_the_server_is_set_to(connection: psycopg.Connection[Any]) -> None:
    assert connection.execute("show timezone").fetchone() == ("UTC",)


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


def test_misspelt_database_fails_at_once_instead_of_being_retried(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match='database "no_such_database" does not exist'):
        db.connect(settings_of(database_of(postgres_url, "no_such_database")))


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@host:5432/db?sslmod", "hunter2"])
def test_malformed_url_says_what_is_expected_and_keeps_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL cannot be read: expected postgresql://") as error:
        db.connect(settings_of(url))
    assert "hunter2" not in str(error.value)
