"""The weekly KPIs: a wrong window, a leaked later answer or a lost column would mislead every reader of the report."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.integration import kpi_reference as reference
from tests.integration.kpi_reference import BankItem

from irt_analytics import db
from irt_analytics.jobs import _attempts, _windows, compute_daily_kpis
from irt_analytics.params import RunParams
from irt_analytics.runner import JobContext, JobRecord, Shard, run_job
from irt_analytics.settings import Settings
from irt_analytics.simulate import Cohort, simulate_cohort

SUNDAY = date(2026, 3, 1)
TEN_SECONDS = BankItem(1.0, 0.0, 10_000.0)
OWN_COLUMNS_OF_LATER_JOBS = {
    "s": 0.25,
    "s_lower": 0.2,
    "s_upper": 0.3,
    "s_n": 12,
    "s_source": "landmark Cox model",
    "p": 0.75,
    "p_n": 6,
    "p_source": "goal",
    "sigma": 0.4,
    "sigma_source": "goal",
}


def at(day: date, clock: str = "10:00:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)


def write_answers(settings: Settings, answers: list[dict[str, Any]] | pd.DataFrame, tenant: str = "default") -> None:
    frame = pd.DataFrame(answers).assign(tenant_id=tenant)
    if "topic_id" not in frame:
        frame["topic_id"] = "topic"
    with db.connect(settings) as connection:
        db.copy_frame(connection, "attempt_log", frame)
        connection.commit()


def publish(settings: Settings, bank: Mapping[str, BankItem], as_of: date, tenant: str = "default") -> None:
    """Publish a bank as of a day, as a calibration does."""
    with db.connect(settings) as connection:
        connection.execute(
            """
            insert into mirt_fit_meta (
                tenant_id, run_id, as_of, window_start, window_end, window_extended, model, engine, engine_version,
                code_version, data_fingerprint, n_persons, n_items, n_responses, converged, iterations, latent_mean,
                latent_sd, priors, published, published_at_as_of
            )
            values (%(t)s, %(run)s, %(d)s, %(d)s, %(d)s, false, '2PL', 'test', '1', '1', '-', 1, 1, 1, true, 1, 0, 1,
                'none', true, %(d)s)
            """,
            {"t": tenant, "run": f"run-{as_of}", "d": as_of},
        )
        frame = pd.DataFrame(
            {
                "item_id": list(bank),
                "a": [item.a for item in bank.values()],
                "b": [item.b for item in bank.values()],
                "median_time_ms": [item.median_time_ms for item in bank.values()],
            }
        ).assign(tenant_id=tenant, run_id=f"run-{as_of}", n_responses=100, anchor=False, status="estimated")
        db.copy_frame(connection, "mirt_item_params", frame)
        connection.commit()


def run(
    settings: Settings,
    as_of: date,
    tenant: str = "default",
    shard: Shard | None = None,
    expected: int = 0,
    **params: Any,
) -> None:
    code = run_job(
        compute_daily_kpis.JOB,
        tenant=tenant,
        as_of=as_of,
        params=RunParams(**params),
        settings=settings,
        dry_run=False,
        shard=shard,
    )
    assert code == expected


def rows(settings: Settings, condition: str = "true", **values: Any) -> pd.DataFrame:
    with db.connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"select * from weekly_kpi where {condition} order by tenant_id, user_id, week_start, as_of", values
        )
        assert cursor.description is not None
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def row(settings: Settings, learner: str, week_start: date = SUNDAY - timedelta(6)) -> "pd.Series[Any]":
    found = rows(settings, "user_id = %(user)s and week_start = %(week)s", user=learner, week=week_start)
    assert len(found) == 1
    return found.iloc[0]


def session(learner: str, name: str | None, day: date, clocks: list[str], **values: Any) -> list[dict[str, Any]]:
    """Answers to new items, one at each time."""
    return [
        {
            "student_id": learner,
            "item_id": f"{day}-{clock}",
            "correct": True,
            "completed_at": at(day, clock),
            "session_id": name,
            **values,
        }
        for clock in clocks
    ]


# --- A_t -------------------------------------------------------------------------------------------------------------


def two_sessions(learner: str, named: bool, **values: Any) -> list[dict[str, Any]]:
    """Ten minutes on 20 February, twenty on the 27th: 6.993 days between them and 2.569 to the end of 1 March."""
    first, second = date(2026, 2, 20), date(2026, 2, 27)
    answers = session(learner, "one" if named else None, first, ["10:04:00", "10:10:00"], **values)
    answers += session(learner, "two" if named else None, second, ["10:05:00", "10:20:00"], **values)
    answers[0]["started_at"] = at(first, "10:00:00")
    answers[2]["started_at"] = at(second, "10:00:00")
    return answers


def test_activity_worked_out_by_hand(settings: Settings) -> None:
    hinted = two_sessions("hinted", named=True, hints=0)
    hinted[0]["hints"] = 2
    silent = two_sessions("silent", named=False)
    once = session("once", None, date(2026, 2, 27), ["10:00:00"])
    earlier = session("earlier", "s", date(2026, 1, 20), ["10:00:00"])
    flagged = two_sessions("flagged", named=True, hint_used=False)
    flagged[0]["hint_used"] = flagged[3]["hint_used"] = True
    write_answers(settings, hinted + silent + once + earlier + flagged)
    run(settings, SUNDAY)

    sessions, gap = 0.35 * 2 / 28, 0.25 * (1 - 4.78125 / 7)
    hinted_row = row(settings, "hinted")
    assert hinted_row["a_t"] == pytest.approx(sessions + gap + 0.20 * (1 - 0.5 / 3) + 0.20 * 1)
    assert hinted_row["a_t"] == pytest.approx(0.4709077, abs=1e-7)
    assert (hinted_row["a_t_source"], hinted_row["a_t_n"]) == ("recorded sessions", 2)
    assert hinted_row["a_t_dropped"] is None
    assert hinted_row["a_t_lower"] < hinted_row["a_t"] < hinted_row["a_t_upper"]

    silent_row = row(settings, "silent")
    assert silent_row["a_t"] == pytest.approx((sessions + gap + 0.20) / 0.8)
    assert (silent_row["a_t_source"], silent_row["a_t_dropped"]) == ("derived sessions", ["hints_per_attempt"])

    once_row = row(settings, "once")
    assert once_row["a_t"] == pytest.approx((0.35 / 28 + 0.25 * (1 - (2 + 14 / 24) / 7)) / 0.6)
    assert once_row["a_t_dropped"] == ["hints_per_attempt", "median_session_seconds"]

    earlier_row = row(settings, "earlier")
    assert (earlier_row["a_t"], earlier_row["a_t_n"], earlier_row["a_t_source"]) == (0, 0, "no session")
    assert row(settings, "flagged")["a_t"] == pytest.approx(hinted_row["a_t"])


def test_interval_of_activity_worked_out_by_hand(settings: Settings) -> None:
    """Terms at their limit add nothing; here the median duration is at 900 s and hints are not recorded."""
    write_answers(settings, two_sessions("silent", named=True))
    run(settings, SUNDAY)
    found = row(settings, "silent")
    gaps = np.array([6 + 23 / 24 + 50 / 1440, 2 + 13 / 24 + 40 / 1440])
    variance = (0.35 / 28) ** 2 * 2 + (0.25 / 7) ** 2 * gaps.var(ddof=1) / 2
    half_width = stats.norm.ppf(0.975) * np.sqrt(variance) / 0.8
    assert found["a_t_upper"] - found["a_t"] == pytest.approx(half_width)
    assert found["a_t"] - found["a_t_lower"] == pytest.approx(half_width)


def test_activity_of_one_session_has_no_interval(settings: Settings) -> None:
    """The spread of a single gap, length or count of hints is unknown, not zero: a narrow interval would be made up."""
    write_answers(settings, two_sessions("once", named=True)[2:])
    one_length = two_sessions("one length", named=True)
    del one_length[0]
    one_hint = two_sessions("one hint", named=True)
    one_hint[0]["hints"] = 1
    write_answers(settings, one_length + one_hint)
    run(settings, SUNDAY)
    for learner, n in (("once", 1), ("one length", 2), ("one hint", 2)):
        found = row(settings, learner)
        assert (found["a_t_n"], found["a_t_lower"], found["a_t_upper"]) == (n, None, None), learner
        assert 0 < found["a_t"] < 1, learner


def test_a_pause_of_half_an_hour_is_within_a_session_and_a_longer_one_is_not(settings: Settings) -> None:
    day = date(2026, 2, 27)
    write_answers(
        settings,
        session("steady", None, day, ["10:00:00", "10:30:00"]) + session("torn", None, day, ["10:00:00", "10:30:01"]),
    )
    slow = session("slow", None, day, ["10:00:00", "10:40:00"])
    slow[1]["started_at"] = at(day, "10:20:00")  # twenty minutes' work on one item is no pause
    write_answers(settings, slow)
    run(settings, SUNDAY)
    assert [row(settings, learner)["a_t_n"] for learner in ("steady", "torn", "slow")] == [1, 2, 1]


def test_a_session_over_midnight_counts_with_its_part_in_the_window(settings: Settings) -> None:
    """A week must not see the minutes after its end, nor those before its window."""
    first, last = SUNDAY - timedelta(27), SUNDAY
    answers = session("owl", "in", first - timedelta(1), ["23:50:00"]) + session("owl", "in", first, ["00:10:00"])
    answers += session("owl", "out", last, ["23:40:00", "23:50:00"])
    answers += session("owl", "out", last + timedelta(1), ["01:00:00"])
    write_answers(settings, answers)
    run(settings, SUNDAY)
    found = row(settings, "owl")
    span = (at(last, "23:40:00") - at(first, "00:10:00")).total_seconds() / 86_400
    gaps = (span + 10 / 1440) / 2
    assert found["a_t_n"] == 2
    assert found["a_t"] == pytest.approx(
        (0.35 * 2 / 28 + 0.25 * max(0.0, 1 - gaps / 7) + 0.20 * 600 / 900) / 0.8
    )  # the first session has one answer in the window and no start: it has no length


def test_times_and_hints_that_cannot_be_count_as_not_recorded(settings: Settings) -> None:
    """check_attempts tolerates one such answer in a thousand; it must not end everybody's run, nor be a rapid one."""
    day = date(2026, 2, 27)
    odd = session("odd", "s", day, ["10:00:00"], started_at=at(day + timedelta(1)), response_time_ms=-5_000, hints=-9)
    plain = session("plain", "s", day, ["10:00:00"])
    write_answers(settings, odd)
    write_answers(settings, plain)
    publish(settings, {odd[0]["item_id"]: TEN_SECONDS}, SUNDAY)
    run(settings, SUNDAY)
    found, expected = row(settings, "odd"), row(settings, "plain")
    for column in ("a_t", "a_t_lower", "a_t_upper", "a_t_dropped", "i_t_n", "e_t_reason"):
        assert found[column] == expected[column]
    assert (found["i_t_n"], found["e_t_reason"]) == (1, "response times are not recorded")
    with db.connect(settings) as connection:
        assert connection.execute("select exclusions from job_run").fetchall() == [([],)]


def test_a_start_at_infinity_counts_as_not_recorded(settings: Settings) -> None:
    """Some exports write what they do not know so; it is no moment before all others."""
    for learner in ("odd", "plain"):
        write_answers(settings, two_sessions(learner, named=False))
    with db.connect(settings) as connection:
        connection.execute(
            "update attempt_log set started_at = case when student_id = 'odd' then 'infinity'::timestamptz end"
        )
        connection.commit()
    run(settings, SUNDAY)
    found, expected = row(settings, "odd"), row(settings, "plain")
    for column in ("a_t", "a_t_n", "a_t_lower", "a_t_upper"):
        assert found[column] == expected[column]


# --- E_t -------------------------------------------------------------------------------------------------------------


def timed(learner: str, day: date, times_ms: list[float], **values: Any) -> list[dict[str, Any]]:
    return [
        {
            "student_id": learner,
            "item_id": f"{day}-{number}",
            "correct": True,
            "completed_at": at(day) + timedelta(minutes=number),
            "response_time_ms": round(time),
            **values,
        }
        for number, time in enumerate(times_ms)
    ]


def test_efficiency_worked_out_by_hand(settings: Settings) -> None:
    """Median 10 s before, 8 s now: E_t = 1 - 0.8. Fourth and twelfth of fifteen log times are 0.8 apart."""
    recent, previous = SUNDAY - timedelta(27), SUNDAY - timedelta(28)
    spread = np.exp(np.arange(-7, 8) * 0.1)
    faster = timed("faster", previous, list(10_000 * spread)) + timed("faster", recent, list(8_000 * spread))
    too_few = timed("too few", previous, [10_000.0] * 15) + timed("too few", recent, [8_000.0] * 14)
    too_few += timed("too few", SUNDAY, [999.0]) + timed("too few", SUNDAY - timedelta(1), [8_000.0], timed_out=True)
    too_few += timed("too few", SUNDAY - timedelta(2), [8_000.0], correct=False)
    again = [{**answer, "completed_at": at(SUNDAY)} for answer in timed("too few", previous, [8_000.0])]
    write_answers(settings, faster + too_few + again)
    items = {answer["item_id"] for answer in faster + too_few}
    publish(settings, dict.fromkeys(items, TEN_SECONDS), SUNDAY)
    run(settings, SUNDAY)

    found = row(settings, "faster")
    assert found["e_t"] == pytest.approx(0.2, abs=1e-4)  # times are whole milliseconds
    assert found["e_t_n"] == 30
    half_width = stats.norm.ppf(0.975) * np.sqrt(2) * 0.8 / (2 * stats.norm.ppf(0.975))
    assert found["e_t_lower"] == pytest.approx(1 - 0.8 * np.exp(half_width), abs=1e-4)
    assert found["e_t_upper"] == pytest.approx(1 - 0.8 * np.exp(-half_width), abs=1e-4)

    few = row(settings, "too few")
    assert few["e_t"] is None
    assert few["e_t_n"] == 29
    assert "fewer than 15" in few["e_t_reason"]


def test_efficiency_says_when_times_are_not_recorded(settings: Settings) -> None:
    write_answers(settings, two_sessions("silent", named=True))
    run(settings, SUNDAY)
    assert row(settings, "silent")["e_t_reason"] == "response times are not recorded"


def test_interval_of_efficiency_covers(settings: Settings) -> None:
    """Two hundred learners with no change in speed: 95 % intervals that miss it more often would cry wolf."""
    rng = np.random.default_rng(5)
    answers: list[dict[str, Any]] = []
    for learner in range(400):
        for day in (SUNDAY, SUNDAY - timedelta(40)):
            times = 10_000 * rng.lognormal(0, 0.5, rng.integers(18, 30))
            answers += timed(f"l{learner}", day, list(times))
    write_answers(settings, answers)
    publish(settings, dict.fromkeys({answer["item_id"] for answer in answers}, TEN_SECONDS), SUNDAY)
    run(settings, SUNDAY)
    found = rows(settings, "as_of = %(d)s and week_start = %(w)s", d=SUNDAY, w=SUNDAY - timedelta(6))
    found = found[["e_t_lower", "e_t_upper"]].astype(float)
    covered = (found["e_t_lower"] <= 0) & (found["e_t_upper"] >= 0)
    assert stats.binomtest(int(covered.sum()), 400, 0.95).pvalue > 0.001


# --- R_t -------------------------------------------------------------------------------------------------------------


def tries(learner: str, item: str, *outcomes: tuple[int, bool]) -> list[dict[str, Any]]:
    """Answers to one item: (days before Sunday, correct); a day is a session."""
    return [
        {
            "student_id": learner,
            "item_id": item,
            "correct": correct,
            "completed_at": at(SUNDAY - timedelta(days_before)) + timedelta(seconds=number),
            "session_id": f"day {days_before}",
        }
        for number, (days_before, correct) in enumerate(outcomes)
    ]


def test_resolution_worked_out_by_hand(settings: Settings) -> None:
    """Three of five: 0.6, Wilson 0.2307 to 0.8824."""
    answers = tries("ann", "counts, resolved", (9, False), (3, True))
    answers += tries("ann", "counts, resolved at last", (9, False), (5, False), (3, True))
    answers += tries("ann", "counts, never", (9, False), (3, False))
    answers += tries("ann", "counts, right in between", (9, False), (9, True), (3, False), (1, True))
    answers += tries("ann", "counts, from the window's first day", (27, False), (1, False))
    answers += tries("ann", "same session only", (9, False), (9, True))
    answers += tries("ann", "wrong before the window", (28, False), (3, True))
    answers += tries("ann", "right, then wrong", (9, True), (3, False))
    answers += tries("ann", "right twice", (9, True), (3, True))
    timed_out = tries("ann", "ran out of time, then right", (9, False), (3, True))
    timed_out[0]["timed_out"] = True
    write_answers(settings, answers + timed_out)
    run(settings, SUNDAY)
    found = row(settings, "ann")
    assert (found["r_t"], found["r_t_n"]) == (0.6, 5)
    assert (found["r_t_lower"], found["r_t_upper"]) == pytest.approx((0.2307, 0.8824), abs=5e-5)


def test_wilson_interval_of_published_examples(settings: Settings) -> None:
    """Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    answers: list[dict[str, Any]] = []
    for right, n in published:
        for item in range(n):
            answers += tries(f"{right}/{n}", f"item {item}", (9, False), (3, item < right))
    write_answers(settings, answers)
    run(settings, SUNDAY)
    for (right, n), interval in published.items():
        found = row(settings, f"{right}/{n}")
        assert (found["r_t_lower"], found["r_t_upper"]) == pytest.approx(interval, abs=5e-5)


def test_resolution_of_fewer_than_five_items_is_null_with_its_reason(settings: Settings) -> None:
    write_answers(settings, [a for item in "abcd" for a in tries("ann", item, (9, False), (3, True))])
    run(settings, SUNDAY)
    found = row(settings, "ann")
    assert found["r_t"] is None
    assert found["r_t_n"] == 4
    assert found["r_t_reason"] == "fewer than 5 items answered wrong and tried again in a later session"


# --- I_t -------------------------------------------------------------------------------------------------------------


def test_growth_worked_out_by_hand(settings: Settings) -> None:
    """Rasch items of difficulty 0: theta of x right of n is logit((x + 1/2) / (n + 1)) (Warm, 1989, eq. 14)."""

    def fortnight(learner: str, last: date, right: int, n: int) -> list[dict[str, Any]]:
        return [
            {"student_id": learner, "item_id": f"{last}-{item}", "correct": item < right, "completed_at": at(last)}
            for item in range(n)
        ]

    edges = (SUNDAY, SUNDAY - timedelta(14))
    answers = fortnight("ann", edges[0], 6, 8) + fortnight("ann", edges[1], 3, 8)
    answers += fortnight("bob", edges[0], 5, 5) + fortnight("bob", edges[1], 2, 4)
    write_answers(settings, answers)
    publish(settings, {answer["item_id"]: BankItem(1.0, 0.0, None) for answer in answers}, SUNDAY)
    run(settings, SUNDAY)

    found = row(settings, "ann")
    estimates = [np.log((x + 0.5) / (8 - x + 0.5)) for x in (6, 3)]
    raw = estimates[0] - estimates[1]
    assert found["i_t_raw"] == pytest.approx(raw, abs=1e-6)
    inside = [(x + 0.5) * (8 - x + 0.5) / 81 for x in (6, 3)]
    common = np.average(estimates, weights=inside)
    p = 1 / (1 + np.exp(-common))
    se = np.sqrt(2 / (8 * p * (1 - p)))
    assert found["i_t_se"] == pytest.approx(se, abs=1e-6)
    assert (found["i_t_m"], found["i_t_tau"], found["i_t_n"], found["i_t_source"]) == (0.0, 0.3, 16, "theta")
    shrunk = 0.09 / (0.09 + se**2)
    assert found["i_t"] == pytest.approx(shrunk * raw, abs=1e-6)
    sd = np.sqrt(shrunk) * se
    assert found["i_t_upper"] - found["i_t"] == pytest.approx(stats.norm.ppf(0.975) * sd, abs=1e-6)
    assert found["i_t_pr_positive"] == pytest.approx(stats.norm.cdf(shrunk * raw / sd), abs=1e-6)

    few = row(settings, "bob")
    assert few["i_t"] is None
    assert few["i_t_reason"] == "fewer than 5 first attempts that count in the recent or the previous fortnight"


def test_answers_that_say_nothing_of_growth_are_null_with_their_reason(settings: Settings) -> None:
    """Far too hard items one fortnight, far too easy ones the next: one such learner must not end everybody's run.

    At the ability between the two, a = 4 and b = +-3.5 leave 5 a^2 e^-14 of information each: an error of 173.
    """
    answers: list[dict[str, Any]] = []
    bank: dict[str, BankItem] = {}
    for day, b, correct in ((SUNDAY, -3.5, True), (SUNDAY - timedelta(14), 3.5, False)):
        for number in range(5):
            item = f"{day}-{number}"
            answers.append({"student_id": "ann", "item_id": item, "correct": correct, "completed_at": at(day)})
            bank[item] = BankItem(4.0, b, None)
    write_answers(settings, answers)
    publish(settings, bank, SUNDAY)
    run(settings, SUNDAY)
    found = row(settings, "ann")
    assert found[["i_t", "i_t_raw", "i_t_se", "i_t_lower"]].isna().all()
    assert found["i_t_n"] == 10
    assert found["i_t_reason"] == "the answers of the two fortnights say too little of ability"


def test_growth_in_accuracy_where_items_are_not_calibrated(settings: Settings) -> None:
    """Five others got three of five right on each item; 5/5 now and 2/5 before give 3/7 with error sqrt(18/343)."""
    answers: list[dict[str, Any]] = []
    for number, day in enumerate([SUNDAY] * 5 + [SUNDAY - timedelta(14)] * 5):
        item = f"item {number}"
        answers.append({"student_id": "ann", "item_id": item, "correct": number < 7, "completed_at": at(day)})
        answers += [
            {"student_id": f"peer {peer}", "item_id": item, "correct": peer < 3, "completed_at": at(day)}
            for peer in range(5)
        ]
    lonely = [
        {"student_id": "lonely", "item_id": f"own {day}-{n}", "correct": True, "completed_at": at(day)}
        for day in (SUNDAY, SUNDAY - timedelta(14))
        for n in range(9)
    ]
    write_answers(settings, answers + lonely)
    run(settings, SUNDAY)
    found = row(settings, "ann")
    assert found["i_t_source"] == "accuracy"
    assert found["i_t"] == pytest.approx(3 / 7)
    assert found["i_t_raw"] == pytest.approx(0.6)
    assert found["i_t_se"] == pytest.approx(np.sqrt(18 / 343))
    assert (found["i_t_n"], found["i_t_m"], found["i_t_tau"]) == (10, None, None)
    assert row(settings, "lonely")["i_t"] is None  # nobody else answered those items: nothing to compare with


def test_rapid_and_timed_out_answers_are_no_evidence_or_count_as_wrong(settings: Settings) -> None:
    def answers(last: date) -> list[dict[str, Any]]:
        found = timed("ann", last, [9_000.0] * 6)
        found[0]["timed_out"], found[1]["response_time_ms"] = True, 999
        return found

    both = answers(SUNDAY) + answers(SUNDAY - timedelta(14))
    write_answers(settings, both)
    publish(settings, dict.fromkeys([answer["item_id"] for answer in both], TEN_SECONDS), SUNDAY)
    run(settings, SUNDAY)
    assert row(settings, "ann")["i_t_n"] == 8
    run(settings, SUNDAY, invalid_answers="wrong")
    found = row(settings, "ann")
    assert (found["i_t_n"], found["i_t_raw"]) == (12, 0)
    with db.connect(settings) as connection:
        exclusions = connection.execute("select exclusions from job_run order by job_run_id").fetchall()
    assert [(entry["reason"], entry["count"]) for entry in exclusions[0][0]] == [
        ("timed-out answers", 2),
        ("rapid answers", 2),
    ]
    assert exclusions[1][0][0]["detail"] == "first attempts counted as wrong"


# --- a cohort --------------------------------------------------------------------------------------------------------

LAST_DAY = SUNDAY + timedelta(3)


def true_bank(cohort: Cohort) -> dict[str, BankItem]:
    return {
        item["item_id"]: BankItem(item["a"], item["b"], float(np.exp(item["time_intensity"]) * 1000))
        for item in cohort.truth.items.to_dict("records")
    }


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(60, 120, 6, 14, seed=3, as_of=LAST_DAY, activity=1.5)


def values(frame: pd.DataFrame, *, but: tuple[str, ...] = ()) -> pd.DataFrame:
    return frame.drop(columns=list(but)).reset_index(drop=True)


def test_every_kpi_agrees_with_a_plain_computation(settings: Settings, cohort: Cohort) -> None:
    """Every learner and week of a cohort, reconstructed weeks and the running one."""
    write_answers(settings, cohort.attempts)
    bank = true_bank(cohort)
    publish(settings, bank, LAST_DAY)
    run(settings, LAST_DAY)
    found = rows(settings)
    assert found["week_start"].nunique() == 15
    checked = dict.fromkeys(("i_t_raw", "a_t", "e_t", "r_t"), 0)
    for kpi in found.to_dict("records"):
        day = min(kpi["week_start"] + timedelta(6), LAST_DAY)
        answers = reference.answers_of(cohort.attempts, kpi["user_id"], day)
        assert reference.within(answers, day - timedelta(55), day)
        raw, n = reference.growth(answers, day, bank)
        assert (kpi["i_t_n"], bool(pd.isna(kpi["i_t_raw"]))) == (n, raw is None)
        e_t, times = reference.efficiency(answers, day, bank)
        assert (kpi["e_t_n"], bool(pd.isna(kpi["e_t"]))) == (times, e_t is None)
        items, resolved = reference.resolution(answers, day, bank)
        assert kpi["r_t_n"] == items
        expected = {
            "i_t_raw": raw,
            "a_t": reference.activity(answers, day),
            "e_t": e_t,
            "r_t": resolved / items if items >= 5 else None,
        }
        for name, value in expected.items():
            if value is not None:
                assert kpi[name] == pytest.approx(value, abs=1e-5), (name, kpi["user_id"], day)
                checked[name] += 1
    assert min(checked.values()) > 50


def test_a_reconstructed_week_is_what_a_run_on_its_sunday_would_have_written(
    settings: Settings, cohort: Cohort
) -> None:
    """Trends of the first day must be those that daily runs would have made; nothing of a later day may enter."""
    for tenant in ("daily", "late"):
        write_answers(settings, cohort.attempts, tenant)
        publish(settings, true_bank(cohort), LAST_DAY - timedelta(60), tenant)
    for sunday in (SUNDAY - timedelta(14), SUNDAY - timedelta(7), SUNDAY):
        run(settings, sunday, "daily")
    run(settings, LAST_DAY, "daily")
    run(settings, LAST_DAY, "late")
    since = SUNDAY - timedelta(20)
    live = rows(settings, "tenant_id = 'daily' and week_start >= %(since)s and not reconstructed", since=since)
    late = rows(settings, "tenant_id = 'late' and week_start >= %(since)s", since=since)
    assert len(live) > 100
    keys = ("tenant_id", "as_of", "reconstructed")
    pd.testing.assert_frame_equal(values(live, but=keys), values(late, but=keys), check_dtype=False)
    assert not rows(settings, "tenant_id = 'daily' and as_of = %(d)s and reconstructed", d=LAST_DAY).size

    with db.connect(settings) as connection:  # an outage: nothing was written at the end of a week
        connection.execute("delete from weekly_kpi where tenant_id = 'daily' and as_of = %s", (SUNDAY,))
        connection.commit()
    run(settings, LAST_DAY, "daily")
    filled = rows(settings, "tenant_id = 'daily' and as_of = %(d)s and reconstructed", d=LAST_DAY)
    assert set(filled["week_start"]) == {SUNDAY - timedelta(6)}


def test_a_timed_out_answer_without_correctness_counts_as_wrong_where_invalid_ones_do(settings: Settings) -> None:
    """Platforms record no correctness of an answer that never came; tried again and right, the item is resolved."""
    answers = [each for number in range(6) for each in tries("ann", f"i{number}", (9, False), (3, True))]
    for answer in answers[::2]:
        answer |= {"correct": None, "timed_out": True}
    write_answers(settings, answers)
    run(settings, SUNDAY)
    assert row(settings, "ann")["r_t_n"] == 0
    run(settings, SUNDAY, invalid_answers="wrong")
    assert (row(settings, "ann")["r_t_n"], row(settings, "ann")["r_t"]) == (6, 1)


def test_reruns_shards_and_answers_after_the_day_change_nothing(
    settings: Settings, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = LAST_DAY - timedelta(9)
    write_answers(settings, cohort.attempts)
    publish(settings, true_bank(cohort), day)
    run(settings, day)
    first = rows(settings)
    run(settings, day)
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)
    run(settings, day, shards=7)
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)
    with monkeypatch.context() as patch:
        patch.setattr(_attempts, "MANY_ANSWERS", 1)
        patch.setattr(_attempts, "SESSIONS", 3)
        patch.setattr(_attempts, "ATTEMPTS_A_PASS", 1_000)
        patch.setattr(_windows, "ATTEMPTS_A_SHARD", 100)
        run(settings, day)
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)
    with db.connect(settings) as connection:
        gone = connection.execute(
            "delete from attempt_log where completed_at >= %s", (at(day, "00:00:00") + timedelta(1),)
        )
        assert gone.rowcount > 100
        connection.execute("create table shuffled as select * from attempt_log order by md5(attempt_log::text)")
        connection.execute("truncate attempt_log")
        connection.execute("insert into attempt_log select * from shuffled")
        connection.commit()
    run(settings, day)
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)


@pytest.mark.parametrize("of", [2, 5])
def test_shards_worked_on_by_processes_of_their_own_change_no_bit(
    settings: Settings, cohort: Cohort, monkeypatch: pytest.MonkeyPatch, of: int
) -> None:
    """A cluster that spreads the learners must not change a number, nor what compares a learner with all."""
    day = LAST_DAY - timedelta(9)
    write_answers(settings, cohort.attempts)
    some = dict(list(true_bank(cohort).items())[::8])  # growth of most learners is in accuracy, against all others
    publish(settings, some, day)
    run(settings, day)
    first = rows(settings)
    assert {"theta", "accuracy"} <= set(first["i_t_source"])
    run(settings, day, shards=7, shard=Shard(7, 7))  # left over from another number of shards
    for number in (*range(1, of + 1), 2):
        run(settings, day, shards=of, shard=Shard(number, of))
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)
    with db.connect(settings) as connection:
        connection.execute("update weekly_kpi set i_t_raw = 0.5, a_t_n = 99, e_t_n = 99, r_t_n = 99")
        connection.commit()
    with monkeypatch.context() as patch:
        patch.delattr(compute_daily_kpis, "_compute")  # what the shards left is taken, not computed again
        run(settings, day, shards=of)
    pd.testing.assert_frame_equal(rows(settings), first, check_exact=True)
    with db.connect(settings) as connection:
        whole, shared = connection.execute(
            """
            select status, rows_read, rows_written, exclusions
            from job_run
            where parameters ->> 'shard' is null
            order by job_run_id
            """
        ).fetchall()
        assert shared == whole
        assert connection.execute("select count(*) from job_part").fetchall() == [(0,)]


def test_tenants_with_the_same_ids_never_mix(settings: Settings, cohort: Cohort) -> None:
    flipped = cohort.attempts.assign(correct=~cohort.attempts["correct"])
    write_answers(settings, cohort.attempts, "one")
    publish(settings, true_bank(cohort), LAST_DAY, "one")
    run(settings, LAST_DAY, "one")
    alone = rows(settings, "tenant_id = 'one'")
    write_answers(settings, flipped, "two")
    publish(settings, true_bank(cohort), LAST_DAY, "two")
    run(settings, LAST_DAY, "two")
    run(settings, LAST_DAY, "one")
    pd.testing.assert_frame_equal(rows(settings, "tenant_id = 'one'"), alone, check_exact=True)
    other = rows(settings, "tenant_id = 'two'")
    assert len(other) == len(alone)
    assert not np.allclose(other["i_t_raw"].astype(float), alone["i_t_raw"].astype(float), equal_nan=True)


def test_a_rerun_keeps_what_later_jobs_wrote(settings: Settings, cohort: Cohort) -> None:
    """S, P and sigma belong to jobs that run after this one; clearing this task must not lose them."""
    write_answers(settings, cohort.attempts)
    publish(settings, true_bank(cohort), LAST_DAY)
    run(settings, LAST_DAY)
    learners = rows(settings)["user_id"].unique()
    kept, gone = str(learners[0]), str(learners[1])
    with db.connect(settings) as connection:
        assignments = ", ".join(f"{column} = %({column})s" for column in OWN_COLUMNS_OF_LATER_JOBS)
        connection.execute(
            f"update weekly_kpi set {assignments} where user_id = %(kept)s and not reconstructed",
            OWN_COLUMNS_OF_LATER_JOBS | {"kept": kept},
        )
        connection.execute("delete from attempt_log where student_id = any(%s)", ([kept, gone],))
        connection.commit()
    before = rows(settings, "user_id <> all(%(ids)s)", ids=[kept, gone])
    run(settings, LAST_DAY)
    assert rows(settings, "user_id = %(id)s", id=gone).empty
    blank = rows(settings, "user_id = %(id)s", id=kept)
    assert blank[list(OWN_COLUMNS_OF_LATER_JOBS)].to_dict("records") == [OWN_COLUMNS_OF_LATER_JOBS]
    assert blank[["i_t", "a_t", "e_t", "r_t"]].isna().all(axis=None)
    assert blank["a_t_reason"].item() == "no answer in the eight weeks before"
    assert set(rows(settings)["user_id"]) == set(before["user_id"]) | {kept}


def test_a_rerun_waits_for_a_later_job_and_does_not_lose_what_it_writes(settings: Settings) -> None:
    """The churn model may be at work on the day's rows while a person clears this task."""
    write_answers(settings, two_sessions("ann", named=True))
    run(settings, SUNDAY)
    at_work = Event()

    def write_later() -> None:
        with db.connect(settings) as later:
            JobContext("default", SUNDAY, RunParams(), settings, later, JobRecord(), None).begin_sharing("weekly_kpi")
            at_work.set()
            until = time.monotonic() + 60
            while not _waits_for_a_lock(settings):
                assert time.monotonic() < until, "the rerun does not wait"
                time.sleep(0.05)
            assignments = ", ".join(f"{column} = %({column})s" for column in OWN_COLUMNS_OF_LATER_JOBS)
            later.execute(f"update weekly_kpi set {assignments} where not reconstructed", OWN_COLUMNS_OF_LATER_JOBS)
            later.commit()

    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(write_later)
        assert at_work.wait(timeout=60)
        # its snapshot does not hold what was written meanwhile: another try has it
        run(settings, SUNDAY, expected=75)
        written.result(timeout=60)
    run(settings, SUNDAY)
    assert row(settings, "ann")[list(OWN_COLUMNS_OF_LATER_JOBS)].to_dict() == OWN_COLUMNS_OF_LATER_JOBS
    assert row(settings, "ann")["a_t"] > 0


def _waits_for_a_lock(settings: Settings) -> bool:
    with db.connect(settings) as connection:
        return connection.execute("select exists (select from pg_locks where not granted)").fetchone() == (True,)


def test_a_log_that_ended_long_ago_is_a_recorded_skip(settings: Settings) -> None:
    write_answers(settings, two_sessions("silent", named=True))
    run(settings, SUNDAY + timedelta(400))
    with db.connect(settings) as connection:
        assert connection.execute("select status, reason from job_run").fetchall() == [
            ("skipped", "no answer from 2026-08-24 to 2027-04-05")
        ]


def test_planted_growth_is_covered(settings: Settings) -> None:
    """Intervals of I_t and errors of the raw difference against the growth that was planted."""
    cohort = simulate_cohort(800, 300, 20, 10, seed=11, as_of=SUNDAY, activity=1.5, topic_sd=0.0)
    write_answers(settings, cohort.attempts)
    publish(settings, true_bank(cohort), SUNDAY)
    run(settings, SUNDAY)
    found = rows(settings, "not reconstructed and i_t_source = 'theta'").set_index("user_id")
    truth = cohort.truth.theta_on(SUNDAY - timedelta(7)) - cohort.truth.theta_on(SUNDAY - timedelta(21))
    growth = truth.reindex(found.index)
    raw, se = found["i_t_raw"].astype(float), found["i_t_se"].astype(float)
    assert len(found) > 400
    z = (raw - growth) / se
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert 0.85 < z.std() < 1.12
    covered = ((found["i_t_lower"] <= growth) & (growth <= found["i_t_upper"])).mean()
    assert covered > 0.93
    better = abs(found["i_t"].astype(float) - growth).mean()
    assert better < 0.5 * abs(raw - growth).mean()
