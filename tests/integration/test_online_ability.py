"""`irt_analytics ability`: what a learner's new answers make of last night's theta, and what it refuses."""

import io
import re
import sys
from datetime import date
from typing import Any

import numpy as np
import pytest
from tests.integration.logs import at, attempt, query, rows_of, run, simulate_log, write_log

from irt_analytics import cli
from irt_analytics.errors import ConfigurationError
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.jobs._online import Ability, ability_now
from irt_analytics.settings import Settings

DAY = date(2026, 1, 31)
BAD_INPUT = ConfigurationError.exit_code


@pytest.fixture
def calibrated(settings: Settings) -> Settings:
    """A published day of 300 learners; some answers are rapid, timed out, repeated, or before the window."""
    log = simulate_log(learners=300, items=20, last_day=DAY, days=40, share=0.6)
    rng = np.random.default_rng(1)
    log["response_time_ms"] = rng.integers(20_000, 60_000, len(log)) // np.where(rng.random(len(log)) < 0.05, 100, 1)
    log["timed_out"] = rng.random(len(log)) < 0.05
    write_log(settings, log)
    write_log(settings, log.sample(100, random_state=1).assign(completed_at=at("2026-01-31", "23:00"), correct=True))
    assert run(settings, "mirt_calibrate", DAY, irt_window_days=30) == 0
    return settings


def of(settings: Settings, student: str, answers: dict[str, bool] | None = None) -> Ability:
    return ability_now(settings, "default", DAY, student, list((answers or {}).items()))


def unanswered(settings: Settings, student: str) -> list[str]:
    items = query(
        settings,
        "select item_id from mirt_item_params_current except select item_id from attempt where student_id = %s",
        student,
    )
    return sorted(items["item_id"])


def test_without_new_answers_it_is_last_night_s_value(calibrated: Settings) -> None:
    """Another choice of answers, bank or prior than the job's would move learners who did nothing."""
    abilities = rows_of(calibrated, "mirt_ability")
    for row in abilities.sample(40, random_state=2).itertuples():
        ability = of(calibrated, str(row.user_id))
        assert ability.nightly is not None
        for estimate in (ability.logged, ability.now):
            assert estimate.theta == pytest.approx(row.theta, abs=1e-10, rel=0)
            assert estimate.se == pytest.approx(row.se, abs=1e-10, rel=0)
            assert estimate.n_responses == row.n_responses


def test_new_answers_give_what_they_give_in_the_log(calibrated: Settings) -> None:
    """The lesson's last figure and the figure of the same answers a night later must be one."""
    items = unanswered(calibrated, "s0007")[:4]
    answers = dict(zip(items, [True, False, True, True], strict=True))
    before = of(calibrated, "s0007")
    now = of(calibrated, "s0007", answers)
    assert now.nightly == before.nightly
    assert now.now.n_responses == before.now.n_responses + 4
    write_log(calibrated, [attempt("s0007", item, at("2026-01-31"), right) for item, right in answers.items()])
    logged = of(calibrated, "s0007").logged
    assert logged.theta == pytest.approx(now.now.theta, abs=1e-10, rel=0)

    answered = query(
        calibrated, "select item_id, a, b, c, latent_mean, latent_sd from published_items('default', %s)", DAY
    )
    rows = [*answers.items()]
    newcomer = estimate_abilities(
        Responses.from_long(["new"] * 4, [item for item, _ in rows], [right for _, right in rows]),
        answered,
        prior=(answered["latent_mean"][0], answered["latent_sd"][0]),
    ).iloc[0]
    ability = of(calibrated, "never seen", answers)
    assert ability.nightly is None
    assert ability.now.theta == pytest.approx(newcomer["theta"], abs=1e-10, rel=0)
    assert ability.now.se == pytest.approx(newcomer["se"], abs=1e-10, rel=0)


def test_the_command_takes_answers_from_everywhere_and_refuses_by_name(
    calibrated: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    """A typing error that counted for nothing, or twice, would be read as ability."""
    monkeypatch.setenv("DATABASE_URL", calibrated.database_url.get_secret_value())

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["irt_analytics", "ability", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            code = int(str(end.code or 0))
        else:
            code = 0
        out, err = capsys.readouterr()
        return code, out + err

    day = f"--as-of={DAY}"
    first, second, third = unanswered(calibrated, "s0011")[:3]
    code, printed = call("s0011", f"{first}=1", f"{second}=0", day)
    assert code == 0
    expected = of(calibrated, "s0011", {first: True, second: False})
    assert expected.nightly is not None
    assert f"theta {expected.now.theta:.6f}, sd {expected.now.se:.6f}" in printed
    (moved,) = re.findall(r"now ([+-][\d.]+)", printed)
    assert float(moved) == pytest.approx(expected.now.theta - expected.nightly[1].theta, abs=1e-6)
    (tmp_path / "answers").write_text(f"{first}=1\n\n{second}=0\n")
    assert call("s0011", day, "--answers", str(tmp_path / "answers")) == (0, printed)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{second}=0\n".encode())))
    assert call("s0011", f"{first}=1", day, "--answers", "-") == (0, printed)

    outside = query(
        calibrated,
        "select student_id, item_id from attempt where completed_at < '2026-01-01' order by 1, 2 limit 1",
    ).iloc[0]
    for arguments, said in (
        (["s0011", "nope=1", f"{third}=1"], "not in the published bank: 'nope';"),
        (["s0011", f"{third}=2"], f"answer '{third}=2': expected ITEM=1"),
        (["s0011", f"{third}=1", f"{third}=1"], f"has answered '{third}' before"),
        ([outside["student_id"], f"{outside['item_id']}=1"], f"has answered '{outside['item_id']}' before"),
        (["s0011", "--tenant", "other"], "tenant 'other' has no items published by then"),
    ):
        code, printed = call(*arguments, day)
        assert (code, said in printed) == (BAD_INPUT, True), printed
