"""What a person at the command line, or the operator that builds it, is told and with which exit code."""

import importlib
import sys
from typing import get_args

import pytest

from irt_analytics import cli
from irt_analytics.errors import ConfigurationError
from irt_analytics.irt.linking import LinkMethod
from irt_analytics.params import RunParams
from irt_analytics.runner import Shard


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["irt_analytics", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(str(ended.code))
    return 0


def test_a_run_can_link_by_every_method_of_the_engine() -> None:
    """A bank linked by Haebara's criterion so far would change its scale by the choice of this tool.

    `fixed` estimates no link: the anchors keep their published parameters.
    """
    assert set(get_args(RunParams.model_fields["linking"].annotation)) == {*get_args(LinkMethod), "fixed"}


@pytest.mark.parametrize("name", sorted(cli.JOBS))
def test_every_command_has_its_job(name: str) -> None:
    """Else a task of the Dag starts a pod that dies of an import error."""
    job = importlib.import_module(f"irt_analytics.jobs.{name}").JOB
    assert job.name == name


@pytest.mark.parametrize("name", sorted(cli.TOOLS))
def test_every_tool_shows_its_own_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, name, "--help") == 0
    assert "Usage:" in capsys.readouterr().out


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*cli.JOBS, *cli.TOOLS])


def test_a_job_has_a_flag_for_every_param(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A Dag param without its flag would be accepted by the form and change nothing."""
    assert run(monkeypatch, "mirt_calibrate", "--help") == 0
    printed = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in printed for name in RunParams.model_fields)


def test_flags_give_the_params_they_say() -> None:
    given = {"model": "Rasch", "irt_window_days": "45", "min_answers_item": "7", "report_lang": "ko"}
    params = cli.parse_params(dict(given))
    assert (params.model, params.irt_window_days, params.item_minimum, params.report_lang) == ("Rasch", 45, 7, "ko")


def test_an_empty_flag_means_the_default() -> None:
    """The Dag passes every param; one left empty in the form arrives as an empty text."""
    assert cli.parse_params({"min_answers_item": "", "model": None}) == RunParams()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--irt-window-days", "0"),
        ("--irt-window-days", "a month"),
        ("--min-answers-item", "-1"),
        ("--shards", "1.5"),
        ("--shards", "100000"),
        ("--segment-weeks", "27"),
    ],
)
def test_a_bad_param_is_named_with_its_value(
    flag: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "mirt_calibrate", "--as-of", "2026-01-31", f"{flag}={value}") == 64
    assert f"{flag}={value!r}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "31.01.2026", "2026-01-31T00:00", "2026-1"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        cli.parse_day(text)
    assert repr(text) in str(refused.value)
    assert "2026-01-31" in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mirt_calibrate"], "--as-of"),
        (["mirt_calibrate", "--as-of", "soon"], "'soon'"),
        (["mirt_calibrate", "--as-of", "2026-01-31", "--model", "4PL"], "4PL"),
        (["mirt_calibrate", "--as-of", "2026-01-31", "--windows", "3"], "--windows"),
        (["mirt_calibrat", "--as-of", "2026-01-31"], "mirt_calibrat"),
    ],
)
def test_a_wrong_call_ends_with_64_and_names_what_is_wrong(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 tells Airflow that a retry is useless."""
    assert run(monkeypatch, *arguments) == 64
    assert said in capsys.readouterr().err


def test_missing_settings_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert run(monkeypatch, "prepare_schema", "--as-of", "2026-01-31") == 64
    assert "DATABASE_URL" in capsys.readouterr().err


@pytest.mark.parametrize("password", ["s3cr/t", "s3c@et", "s3@r/t", "s3c r t"])
def test_a_password_in_a_malformed_url_is_not_shown(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{password}@host:5432/base")
    assert run(monkeypatch, "prepare_schema", "--as-of", "2026-01-31") == 64
    printed = capsys.readouterr()
    shown = printed.out + printed.err + caplog.text
    assert "percent-encoded" in shown
    assert not any(part in shown for part in ("s3", "cr", "et", "r/t"))


def test_a_shard_of_another_number_than_the_job_takes_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be computed for hours and never looked at."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    shard = ("--shards=4", "--shard=2/8")
    assert run(monkeypatch, "features_backfill", "--as-of=2026-01-31", *shard) == 64
    assert "--shard=2/8 with --shards=4" in caplog.text + capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/4", "5/4", "2", "2/", "a/b", "1/2000"])
def test_a_shard_that_is_none_is_refused(shard: str) -> None:
    """Taken for another one its learners would be missing, and the job would do all of it."""
    with pytest.raises(ConfigurationError, match=f"--shard='{shard}': expected"):
        Shard.parse(shard)


@pytest.mark.parametrize("of", [1, 3, 7, 1024])
def test_shards_divide_all_learners(of: int) -> None:
    """A learner in no shard would have no features, one in two shards features twice."""
    buckets = [Shard(number, of).buckets() for number in range(1, of + 1)]
    owned = [bucket for first, last in buckets for bucket in range(first, last + 1)]
    assert owned == list(range(Shard.BUCKETS))
