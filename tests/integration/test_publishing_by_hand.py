"""What a person decides about publishing: said by whom, in force at once, and not undone by the next run."""

import sys
from datetime import date, timedelta
from typing import Any

import pytest
from tests.integration.logs import last_run, query, rows_of, run, simulate_log, write_log
from tests.integration.test_mirt_calibrate import another_cohort, items_of

from irt_analytics import cli, db
from irt_analytics.errors import ConfigurationError, RefusedError, TemporaryError
from irt_analytics.jobs import mirt_calibrate
from irt_analytics.runner import locked
from irt_analytics.settings import Settings

DAY = date(2026, 1, 31)
LATER = DAY + timedelta(days=30)
BANK, ABILITIES = "mirt_item_params", "mirt_ability"
REFUSED, BAD_INPUT, BUSY = RefusedError.exit_code, ConfigurationError.exit_code, TemporaryError.exit_code


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call the command line; its exit code."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["irt_analytics", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return call


@pytest.fixture
def refused(settings: Settings) -> str:
    """Run id of a calibration that is refused: learners one sd better, a month after the published one."""
    write_log(settings, simulate_log(learners=500, items=16, last_day=DAY))
    write_log(settings, another_cohort(LATER, 16, mean=1.0))
    assert run(settings, "mirt_calibrate", DAY) == 0
    assert run(settings, "mirt_calibrate", LATER) == REFUSED
    return run_of(settings, LATER)


def run_of(settings: Settings, as_of: date) -> str:
    return str(query(settings, "select run_id from mirt_fit_meta where as_of = %s", as_of)["run_id"].item())


def in_force(settings: Settings, day: date = LATER) -> list[Any]:
    """All that anybody reads of what is published: by day, now, and the abilities."""
    queries = [
        ("select * from published_items('default', %s) order by item_id", (day,)),
        ("select * from mirt_item_params_current order by item_id", ()),
        ("select * from mirt_ability order by as_of, user_id", ()),
    ]
    return [query(settings, text, *values).to_json(double_precision=15) for text, values in queries]


def decisions(settings: Settings) -> list[tuple[Any, ...]]:
    frame = query(
        settings,
        "select run_id, decision, reason, decided_by, db_user = session_user from publishing_decision order by 1, 2",
    )
    return list(frame.itertuples(index=False, name=None))


def test_a_refused_calibration_published_by_hand_is_the_one_the_job_would_have_published(
    settings: Settings, refused: str, command: Any
) -> None:
    """A person who knows that the new term is abler must get its numbers, not some other way's."""
    before = in_force(settings, LATER)
    assert command("publish", refused, "--reason", "a new term", "--by", "ada", "--dry-run") == 0
    assert in_force(settings, LATER) == before
    assert decisions(settings) == []
    assert command("publish", refused, "--reason", "a new term", "--by", "ada") == 0
    assert decisions(settings) == [(refused, "publish", "a new term", "ada", True)]
    published = in_force(settings, LATER)
    meta = query(settings, "select published, published_at_as_of, reason from mirt_fit_meta where as_of = %s", LATER)
    assert meta.iloc[0].tolist() == [True, LATER, "published by ada: a new term"]

    # The other way there: a database where the day was run with the param that the reason names.
    with db.connect(settings) as connection:
        connection.execute("delete from mirt_fit_meta where as_of = %s", (LATER,))
        connection.execute("alter table publishing_decision disable trigger all")
        connection.execute("delete from publishing_decision")
    assert run(settings, "mirt_calibrate", LATER, max_scale_shift=2) == 0
    assert in_force(settings, LATER) == published


def test_a_rollback_gives_back_the_earlier_bank_to_the_bit(
    settings: Settings, refused: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the way back from a bad calibration would be a third one."""
    before = in_force(settings, LATER)
    assert command("publish", refused, "--reason", "a new term") == 0
    with db.connect(settings) as connection:
        db.ensure_partitions(connection, [LATER])
        connection.execute(
            """
            insert into weekly_kpi (
                user_id, week_start, as_of, i_t_reason, a_t_reason, e_t_reason, r_t_reason, reconstructed
            )
            values ('s0000', date_trunc('week', %(day)s::date), %(day)s, 'few', 'few', 'few', 'few', false)
            """,
            {"day": LATER},
        )
    assert in_force(settings, LATER) != before
    capsys.readouterr()
    assert command("rollback", refused, "--reason", "it was a pilot group", "--by", "ben") == 0
    printed = capsys.readouterr().out
    assert f"withdrawn: calibration {refused} of {LATER}" in printed
    assert f"again for {LATER}" in printed, "which days still rest on it"
    assert in_force(settings, LATER) == before
    assert decisions(settings)[1][:4] == (refused, "withdraw", "it was a pilot group", "ben")
    kept = rows_of(settings, BANK)
    assert set(kept["run_id"]) == {refused, run_of(settings, DAY)}, "what was withdrawn can be looked at"
    assert command("publish", refused, "--reason", "they are the new term after all") == 0
    assert len(decisions(settings)) == 3


def test_a_rerun_undoes_no_decision_and_the_next_day_links_to_what_is_in_force(
    settings: Settings, refused: str, command: Any
) -> None:
    """A cleared task would otherwise publish at night what a person withdrew in the morning."""
    assert command("publish", refused, "--reason", "a new term", "--by", "ada") == 0
    published = in_force(settings, LATER)
    assert run(settings, "mirt_calibrate", LATER) == 0, "the same calibration: it stays, whatever the thresholds say"
    assert in_force(settings, LATER) == published
    assert run(settings, "mirt_calibrate", LATER, min_answers_learner=6, max_scale_shift=2) == REFUSED
    message = str(last_run(settings)["error"])
    assert f"ada decided to publish calibration {refused} of this day (a new term)" in message
    assert "publish" in message
    assert in_force(settings, LATER) == published

    assert command("rollback", refused, "--reason", "a pilot group", "--by", "ben") == 0
    reruns: list[dict[str, Any]] = [{}, {"max_scale_shift": 2}, {"min_answers_learner": 6, "max_scale_shift": 2}]
    for params in reruns:
        assert run(settings, "mirt_calibrate", LATER, **params) == REFUSED
        assert f"ben decided to withdraw calibration {refused} of this day" in str(last_run(settings)["error"])
    assert items_of_force(settings) == run_of(settings, DAY)
    assert len(query(settings, "select from mirt_fit_meta where as_of = %s", LATER)) == 2, "both can be published"

    next_day = LATER + timedelta(days=1)
    assert run(settings, "mirt_calibrate", next_day, max_scale_shift=2) == 0
    meta = query(settings, "select model_spec from mirt_fit_meta where as_of = %s", next_day)["model_spec"].item()
    assert meta["reference_run_id"] == run_of(settings, DAY)
    assert {str(day) for day in items_of(settings, next_day)["reference_as_of"]} == {str(DAY)}


def items_of_force(settings: Settings) -> str:
    return str(query(settings, "select distinct run_id from mirt_item_params_current")["run_id"].item())


def test_a_rerun_with_another_threshold_leaves_what_a_param_let_pass(settings: Settings, refused: str) -> None:
    """The next rerun has the default again: it must neither fail nor withdraw the day."""
    assert run(settings, "mirt_calibrate", LATER, max_scale_shift=2) == 0
    published = in_force(settings, LATER)
    assert run(settings, "mirt_calibrate", LATER) == 0
    assert in_force(settings, LATER) == published
    assert items_of_force(settings) == refused


def test_several_days_are_withdrawn_together(settings: Settings, command: Any) -> None:
    """A log that was wrong for days is noticed after days."""
    write_log(settings, simulate_log(learners=300, items=12, last_day=DAY + timedelta(days=2)))
    days = [DAY + timedelta(days=day) for day in range(3)]
    assert run(settings, "mirt_calibrate", days[0]) == 0
    before = in_force(settings, days[2])
    for day in days[1:]:
        assert run(settings, "mirt_calibrate", day) == 0
    runs = [run_of(settings, day) for day in days]
    assert command("rollback", runs[1], "--reason", "robots") == BAD_INPUT, "the third day may rest on it"
    assert command("rollback", "--to", runs[0], "--reason", "robots", "--by", "ada") == 0
    assert in_force(settings, days[2]) == before
    assert [row[1:4] for row in decisions(settings)] == [("withdraw", "robots", "ada")] * 2


def test_what_cannot_be_published_or_withdrawn_says_why(
    settings: Settings, refused: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text is all that a person at night has."""
    first = run_of(settings, DAY)

    def says(*arguments: str) -> str:
        assert command(*arguments, "--reason", "because") == BAD_INPUT
        return capsys.readouterr().err

    assert f"no calibration 'x'; the newest are: {refused} of {LATER}, not published; {first}" in says("publish", "x")
    assert "no calibration" in says("publish", refused, "--tenant", "other"), "another tenant's"
    assert "is published already" in says("publish", first)
    assert "is not published: the mean of theta lies +" in says("rollback", refused)
    assert "is the only one published" in says("rollback", first)
    assert "it is the newest published calibration already" in says("rollback", "--to", first)
    assert "and not both" in says("rollback", first, "--to", first)
    assert command("publish", refused, "--reason", " ") == BAD_INPUT
    assert "--reason=' ': expected words" in capsys.readouterr().err
    with db.connect(settings) as connection:
        connection.execute("update mirt_fit_meta set converged = false where run_id = %s", (refused,))
    assert "did not converge in" in says("publish", refused)
    with db.connect(settings) as connection:
        connection.execute("update mirt_fit_meta set converged = true where run_id = %s", (refused,))
        connection.execute("delete from mirt_item_params where run_id = %s", (refused,))
    assert "has no items on the published scale (the mean of theta" in says("publish", refused)
    assert run(settings, "mirt_calibrate", LATER) == REFUSED
    assert run(settings, "mirt_calibrate", LATER + timedelta(days=1), max_scale_shift=2) == 0
    assert "1 of later days are published" in says("publish", refused)
    assert decisions(settings) == []


def test_a_decision_waits_for_the_calibration_under_way(settings: Settings, refused: str, command: Any) -> None:
    """Two ways to publish at once would leave what neither meant."""
    with db.connect(settings, autocommit=True) as other, locked(other, mirt_calibrate.JOB, "default", LATER):
        assert command("publish", refused, "--reason", "a new term") == BUSY
    assert decisions(settings) == []


def test_a_calibration_linked_to_a_withdrawn_one_is_calibrated_again_first(
    settings: Settings, refused: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its link leads to a scale that is no longer there."""
    assert command("publish", refused, "--reason", "a new term") == 0
    newest = LATER + timedelta(days=30)
    others = another_cohort(newest, 16)
    write_log(settings, others.assign(student_id="third-" + others["student_id"]))
    assert run(settings, "mirt_calibrate", newest) == REFUSED
    assert command("rollback", refused, "--reason", "a pilot group") == 0
    capsys.readouterr()
    assert command("publish", run_of(settings, newest), "--reason", "the old term") == BAD_INPUT
    assert f"was linked while {refused} was published, now it is" in capsys.readouterr().err


def test_a_comparison_shows_what_moved_and_what_objects(
    settings: Settings, refused: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of the table against the two banks themselves."""
    first = run_of(settings, DAY)
    with db.connect(settings) as connection:
        for table in ("mirt_item_fit", "mirt_item_pair"):
            connection.execute(f"delete from {table} where run_id = %s".encode(), (refused,))
        connection.execute(
            "update mirt_item_params set item_id = 'only-now' where (run_id, item_id) = (%s, 'i003')", (refused,)
        )
    capsys.readouterr()
    assert command("diff", refused) == 0
    printed = capsys.readouterr().out
    items = rows_of(settings, BANK).set_index("item_id")
    now, before = (items[items["run_id"] == each] for each in (refused, first))
    shift = (now["b"] - before["b"]).dropna()
    most = str(shift.abs().idxmax())
    line = next(line.split() for line in printed.splitlines() if line.split()[:1] == [most])
    error = (now["se_b"][most] ** 2 + before["se_b"][most] ** 2) ** 0.5
    assert [float(number) for number in line[1:5]] == pytest.approx(
        [before["b"][most], now["b"][most], shift[most], error], abs=6e-4
    )
    metas = query(settings, "select run_id, log_likelihood / n_responses as each from mirt_fit_meta").set_index(
        "run_id"
    )
    per_answer = next(line.split() for line in printed.splitlines() if line.startswith("log-likelihood"))
    assert [float(number) for number in per_answer[-2:]] == pytest.approx(metas["each"][[refused, first]], abs=6e-5)
    assert "1 items new: 'only-now'" in printed
    assert "1 items gone: 'i003'" in printed
    assert "objects: the mean of theta lies +" in printed
    assert "max_item_shift = 0.3: " not in printed, "a threshold that does not object"
    assert command("diff", refused, "--max-scale-shift", "9", "--max-item-shift", "0.01") == 0
    other = capsys.readouterr().out
    assert "objects: the mean of theta" not in other
    assert "max_item_shift = 0.01: " in other, "a threshold of one's own objects"
    assert command("diff", refused, "--max-fit-loss", "50") == BAD_INPUT
    assert "--max-fit-loss='50'" in capsys.readouterr().err
    assert command("diff", first) == BAD_INPUT
    assert "nothing is published before" in capsys.readouterr().err
    assert command("diff", first, refused) == 0
    assert "it was not linked: it set the scale" in capsys.readouterr().out
