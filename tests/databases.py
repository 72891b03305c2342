"""Addresses of the tests' databases."""

from typing import Any

from pydantic import SecretStr

from irt_analytics.settings import Settings


def database_of(server_url: str, name: str) -> str:
    """URL of another database of the same server."""
    return server_url.replace("/postgres?", f"/{name}?")


def settings_of(url: str, **values: Any) -> Settings:
    """Settings of a job that works on the database of this URL."""
    return Settings(database_url=SecretStr(url), **values)
