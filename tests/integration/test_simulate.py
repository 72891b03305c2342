"""The simulated cohort as a tenant's log: it must not overwrite a real one unasked."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from irt_analytics.errors import ConfigurationError
from irt_analytics.simulate import command

SIZES = ["--as-of", "2026-01-31", "--learners", "40", "--items", "30", "--topics", "3", "--weeks", "4"]


@pytest.fixture
def simulate(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return CliRunner()


def rows(database_url: str, table: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(f"select * from {table} as t order by t::text").fetchall()


def call(runner: CliRunner, *arguments: str) -> Result:
    return runner.invoke(command, [*SIZES, *arguments])


def test_log_questions_and_goals_are_written_for_the_tenant(simulate: CliRunner, database_url: str) -> None:
    result = call(simulate, "--tenant", "demo")
    assert result.exit_code == 0
    answers = rows(database_url, "attempt_log")
    assert f"{len(answers):,} answers of 40 learners, 2026-01-04 to 2026-01-31" in result.output
    assert {row[0] for row in answers} == {"demo"}
    assert len(rows(database_url, "question")) == 30
    assert 10 < len(rows(database_url, "learner_goal")) < 40


def test_a_tenant_with_answers_is_replaced_only_when_asked(simulate: CliRunner, database_url: str) -> None:
    assert call(simulate).exit_code == 0
    first = rows(database_url, "attempt_log")
    refused = call(simulate, "--seed", "2")
    assert isinstance(refused.exception, ConfigurationError)
    assert str(refused.exception) == ("--tenant=default: attempt_log has answers of it; --replace deletes them first")
    assert rows(database_url, "attempt_log") == first
    assert call(simulate, "--seed", "2", "--replace").exit_code == 0
    assert rows(database_url, "attempt_log") != first
    assert call(simulate, "--replace").exit_code == 0
    assert rows(database_url, "attempt_log") == first


def test_truth_lies_beside_the_log_when_asked(simulate: CliRunner, tmp_path: Path) -> None:
    assert call(simulate, "--truth", str(tmp_path), "--format", "csv").exit_code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"truth_{part}.csv.gz" for part in ("learners", "items", "theta", "topics")}


def test_files_need_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = call(CliRunner(), "--out", str(tmp_path))
    assert result.exit_code == 0
    assert (tmp_path / "attempts.parquet").exists()
    assert (tmp_path / "truth_items.parquet").exists()
