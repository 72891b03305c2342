"""Weekly and per-topic theta and the daily features, on logs small enough to work out by hand."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from tests.integration.logs import (
    at,
    attempt,
    last_run,
    publish_bank,
    query,
    rows_of,
    run,
    simulate_log,
    write_log,
)

from irt_analytics.errors import RefusedError
from irt_analytics.jobs import _attempts, features_backfill
from irt_analytics.settings import Settings

WEDNESDAY = date(2026, 1, 28)
MONDAY = date(2026, 1, 26)
TABLES = ("student_week_theta", "student_topic_theta", "features_topic_daily")


def moments(answers: list[tuple[float, float, bool]], mean: float, sd: float) -> tuple[float, float]:
    """Posterior mean and sd of theta under N(mean, sd^2), given (a, b, correct) of each answer, by quadrature."""
    a, b, right = (np.array(values, dtype=float) for values in zip(*answers, strict=True))

    def density(theta: float) -> float:
        logits = np.where(right, 1.0, -1.0) * a * (theta - b)
        return float(np.exp(-np.logaddexp(0.0, -logits).sum()) * norm.pdf(theta, mean, sd))

    def moment(power: int) -> float:
        return float(quad(lambda theta: density(theta) * theta**power, -12, 12, epsabs=0, epsrel=1e-10, limit=300)[0])

    total = moment(0)
    return moment(1) / total, float(np.sqrt(moment(2) / total - (moment(1) / total) ** 2))


def features(settings: Settings, *columns: str, as_of: date = WEDNESDAY) -> list[tuple[Any, ...]]:
    frame = rows_of(settings, "features_topic_daily")
    frame = frame[frame["as_of"] == as_of]
    return list(frame[["user_id", "topic_id", "date", *columns]].itertuples(index=False, name=None))


BANK: list[dict[str, Any]] = [{"item_id": f"i{j}", "a": 0.8 + 0.1 * j, "b": 0.3 * j - 1.0} for j in range(8)]


def publish(settings: Settings, *, as_of: date = WEDNESDAY, **others: Any) -> None:
    publish_bank(settings, BANK, as_of=as_of, window_start=as_of - timedelta(days=29), **others)


def test_plan_of_a_first_run_a_daily_run_and_one_after_an_outage() -> None:
    """A week reconstructed twice, or never, would bend every trend."""
    first = features_backfill.make_plan(WEDNESDAY, None, None)
    assert len(first.weeks) == 26
    assert first.weeks[0] == date(2025, 8, 4)
    assert first.weeks[-1] == MONDAY
    assert first.first_date == date(2025, 7, 31)
    assert first.past_weeks[0] == date(2025, 7, 28)
    assert first.past_weeks[-1] == date(2026, 1, 19)

    yesterday = features_backfill.make_plan(WEDNESDAY, date(2026, 1, 27), date(2026, 1, 27))
    assert yesterday == features_backfill.Plan([MONDAY], WEDNESDAY, [])
    # On Sunday the 18th its week was complete; on Saturday the 17th it was not.
    sunday = features_backfill.make_plan(WEDNESDAY, date(2026, 1, 18), date(2026, 1, 18))
    assert sunday == features_backfill.Plan([date(2026, 1, 19), MONDAY], date(2026, 1, 19), [date(2026, 1, 19)])
    saturday = features_backfill.make_plan(WEDNESDAY, date(2026, 1, 17), date(2026, 1, 17))
    weeks = [date(2026, 1, 12), date(2026, 1, 19)]
    assert saturday == features_backfill.Plan([*weeks, MONDAY], date(2026, 1, 18), weeks)
    long_ago = features_backfill.make_plan(WEDNESDAY, date(2020, 1, 1), date(2020, 1, 1))
    assert long_ago == first


def test_daily_features_by_hand(settings: Settings) -> None:
    """Counts, times, hints and improvement of one learner in two topics, each number worked out below."""
    publish(settings)
    write_log(
        settings,
        [
            # 29 days before the 27th: outside of what improvement compares with; 28 days before: inside.
            attempt("ann", "i0", at("2025-12-29"), False, topic_id="sums"),
            attempt("ann", "i1", at("2025-12-30"), True, topic_id="sums"),
            attempt("ann", "i2", at("2026-01-20"), False, topic_id="sums", response_time_ms=4000, hints=2),
            attempt("ann", "i3", at("2026-01-27", "00:00"), True, topic_id="sums", response_time_ms=1000, hints=0),
            attempt("ann", "i2", at("2026-01-27", "23:59"), True, topic_id="sums", response_time_ms=2000, hints=3),
            attempt("ann", "i1", at("2026-01-27", "10:00"), False, topic_id="sums", response_time_ms=6000),
            attempt("ann", "i4", at("2026-01-28"), True, topic_id="areas"),
            attempt("ann", "i5", at("2026-01-29"), True, topic_id="areas"),  # after as_of
        ],
    )
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    found = features(
        settings, "attempts", "correct", "first_attempts", "avg_time_ms", "rt_median_ms", "hints", "improvement"
    )
    counts = {(topic, day): tuple(numbers) for _, topic, day, *numbers in found}
    assert set(counts) == {
        ("sums", date(2025, 12, 29)),
        ("sums", date(2025, 12, 30)),
        ("sums", date(2026, 1, 20)),
        ("sums", date(2026, 1, 27)),
        ("areas", date(2026, 1, 28)),
    }
    # On the 27th two of three are right; over the 28 days before, one of two (i1 right, i2 wrong).
    assert counts["sums", date(2026, 1, 27)] == pytest.approx((3, 2, 1, 3000.0, 2000.0, 3, 2 / 3 - 1 / 2))
    assert counts["sums", date(2026, 1, 20)] == pytest.approx((1, 0, 1, 4000.0, 4000.0, 2, 0 - 1 / 2))
    first_day = counts["sums", date(2025, 12, 29)]
    assert first_day[:3] == (1, 0, 1)
    assert pd.isna(pd.Series(first_day[3:], dtype=object)).all(), "no times, no hints, nothing to compare with"
    assert counts["areas", date(2026, 1, 28)][:3] == (1, 1, 1)

    reconstructed = {day: flag for _, _, day, flag in features(settings, "reconstructed")}
    assert reconstructed == {day: day < WEDNESDAY for day in reconstructed}


def test_negative_times_and_hints_count_as_not_recorded(settings: Settings) -> None:
    """check_attempts tolerates one such answer in a thousand; it must not end everybody's run."""
    publish(settings)
    impossible = attempt("ann", "i0", at("2026-01-28"), True, topic_id="x", response_time_ms=-1, hints=-1)
    possible = attempt("ann", "i1", at("2026-01-28"), True, topic_id="y", response_time_ms=0, hints=0)
    write_log(settings, [impossible, possible])
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    found = {topic: numbers for _, topic, _, *numbers in features(settings, "avg_time_ms", "rt_median_ms", "hints")}
    assert pd.isna(pd.Series(found["x"], dtype=object)).all()
    assert found["y"] == [0.0, 0.0, 0]


def test_weekly_theta_is_that_of_direct_integration(settings: Settings) -> None:
    """Growth models take y and v as data: their prior must be the published one, and be taken out exactly."""
    mu0, sd0 = 0.4, 1.3
    publish(settings, latent=(mu0, sd0))
    monday, sunday = at("2026-01-19", "00:00"), at("2026-01-25", "23:59")
    write_log(
        settings,
        [
            attempt("ann", "i0", monday, True),
            attempt("ann", "i5", sunday, True),
            attempt("ann", "i7", sunday, False),
            attempt("ann", "i3", at("2026-01-26", "00:00"), True),  # the next week
            attempt("ann", "i0", at("2026-01-27"), True),  # a repeat
            attempt("ann", "elsewhere", at("2026-01-27"), True),  # not in the bank
        ],
    )
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    written = rows_of(settings, "student_week_theta")
    assert written["reconstructed"].tolist() == [True, False]
    assert written["n"].tolist() == [3, 1]
    assert (written["run_id"] == "by hand").all()
    weeks = {row["week_start"]: row for row in written.to_dict("records")}
    assert list(weeks) == [date(2026, 1, 19), MONDAY]
    answers = {
        date(2026, 1, 19): [(0.8, -1.0, True), (1.3, 0.5, True), (1.5, 1.1, False)],
        MONDAY: [(1.1, -0.1, True)],
    }
    for week, rows in answers.items():
        m, s = moments(rows, mu0, sd0)
        v = 1.0 / (1.0 / s**2 - 1.0 / sd0**2)
        y = v * (m / s**2 - mu0 / sd0**2)
        found = weeks[week]
        assert (found["m"], found["s"]) == pytest.approx((m, s), abs=1e-6)
        assert (found["v"], found["y"]) == pytest.approx((v, y), rel=1e-4)
        # The two parts make up the posterior again.
        assert 1.0 / (1.0 / found["v"] + 1.0 / sd0**2) == pytest.approx(found["s"] ** 2)
        assert (found["mu0"], found["sd0"]) == (mu0, sd0)


def test_answers_that_widen_the_posterior_have_no_likelihood_part(settings: Settings) -> None:
    """A variance of the likelihood below zero would crash the growth model, or worse, pass."""
    publish_bank(
        settings,
        # A lucky guess at a hard item: the posterior of the 3PL has two bumps.
        [{"item_id": "hard", "a": 2.5, "b": 2.0, "c": 0.3}],
        as_of=WEDNESDAY,
        window_start=WEDNESDAY - timedelta(days=29),
        model="3PL",
    )
    write_log(settings, [attempt("ann", "hard", at("2026-01-27"), True)])
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    (row,) = rows_of(settings, "student_week_theta").to_dict("records")
    assert row["s"] >= row["sd0"]
    assert pd.isna(row["v"])
    assert pd.isna(row["y"])


def test_topic_theta_is_that_of_direct_integration(settings: Settings) -> None:
    """Topic profiles must shrink to the learner's other topics, by tau and no other amount."""
    mu0, sd0 = -0.2, 1.1
    publish(settings, latent=(mu0, sd0))
    outside_window = WEDNESDAY - timedelta(days=30)
    answers = [("i0", "x", True), ("i1", "x", False), ("i2", "y", True), ("i3", "y", True), ("i4", "z", False)]
    write_log(
        settings,
        [
            *(attempt("ann", item, at("2026-01-20"), right, topic_id=topic) for item, topic, right in answers),
            attempt("ann", "i6", at(str(outside_window)), True, topic_id="x"),
            attempt("bob", "i6", at("2026-01-20"), True, topic_id="x"),
        ],
    )
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    written = rows_of(settings, "student_topic_theta")
    topics = {(row["user_id"], row["topic_id"]): row for row in written.to_dict("records")}
    assert list(topics) == [("ann", "x"), ("ann", "y"), ("ann", "z"), ("bob", "x")]
    (tau,) = written["tau"].unique()
    parameters = {item["item_id"]: (item["a"], item["b"]) for item in BANK}

    def chosen(topic: str, inside: bool) -> list[tuple[float, float, bool]]:
        return [(*parameters[item], right) for item, own, right in answers if (own == topic) == inside]

    for topic, n in (("x", 2), ("y", 2), ("z", 1)):
        found = topics["ann", topic]
        prior_mean, prior_se = moments(chosen(topic, inside=False), mu0, sd0)
        prior_sd = float(np.hypot(prior_se, tau))
        assert found["n_responses"] == n
        assert (found["prior_mean"], found["prior_sd"]) == pytest.approx((prior_mean, prior_sd), abs=1e-6)
        assert (found["theta"], found["se"]) == pytest.approx(
            moments(chosen(topic, inside=True), prior_mean, prior_sd), abs=1e-6
        )
    bob = topics["bob", "x"]
    assert (bob["prior_mean"], bob["prior_sd"]) == pytest.approx((mu0, np.hypot(sd0, tau)))
    assert (bob["theta"], bob["se"]) == pytest.approx(
        moments([(*parameters["i6"], True)], mu0, float(np.hypot(sd0, tau))), abs=1e-6
    )


def test_planted_differences_between_topics_show_in_tau(settings: Settings) -> None:
    """A tau of 0 would turn every topic profile into one flat line."""
    rng = np.random.default_rng(4)
    n_items, n_learners, n_topics = 60, 400, 6
    a, b = np.exp(rng.normal(0, 0.2, n_items)), rng.normal(0, 1, n_items)
    publish_bank(
        settings,
        [{"item_id": f"i{j:02}", "a": a[j], "b": b[j]} for j in range(n_items)],
        as_of=WEDNESDAY,
        window_start=WEDNESDAY - timedelta(days=29),
    )
    theta = rng.normal(0, 1, n_learners)[:, None] + rng.normal(0, 0.6, (n_learners, n_topics))
    student, item = np.divmod(np.arange(n_learners * n_items), n_items)
    p = 1.0 / (1.0 + np.exp(-a[item] * (theta[student, item % n_topics] - b[item])))
    right = rng.random(len(p)) < p
    write_log(
        settings,
        pd.DataFrame(
            {
                "student_id": [f"s{i:03}" for i in student],
                "item_id": [f"i{j:02}" for j in item],
                "topic_id": [f"t{j % n_topics}" for j in item],
                "correct": right,
                "completed_at": at("2026-01-20"),
            }
        ),
    )
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    topics = rows_of(settings, "student_topic_theta")
    assert topics["tau"].to_numpy() == pytest.approx(0.6, abs=0.05)
    truth = pd.Series(theta.ravel(), index=[(f"s{i:03}", f"t{t}") for i in range(n_learners) for t in range(n_topics)])
    z = (topics["theta"] - truth.reindex(list(zip(topics["user_id"], topics["topic_id"], strict=True))).to_numpy()) / (
        topics["se"]
    )
    assert abs(z.mean()) < 0.1
    assert z.std() == pytest.approx(1.0, abs=0.1)


def test_theta_of_the_features_is_the_topic_s_then_the_learner_s_then_none(settings: Settings) -> None:
    """A feature that does not say where it comes from cannot be trusted by a model trained on it."""
    publish(settings)
    write_log(
        settings,
        [
            attempt("ann", "i0", at("2026-01-28"), True, topic_id="x"),
            attempt("ann", "unknown", at("2026-01-28"), True, topic_id="y"),
            attempt("bob", "unknown", at("2026-01-28"), True, topic_id="y"),
        ],
    )
    ability = {"user_id": "ann", "as_of": WEDNESDAY, "theta": 0.7, "se": 0.5, "n_responses": 1, "method": "EAP"}
    _insert(settings, "mirt_ability", [ability | {"run_id": "by hand"}])
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    found = {key[:2]: key[3:] for key in features(settings, "theta_mean", "theta_sd", "theta_source")}
    topic = rows_of(settings, "student_topic_theta").iloc[0]
    assert found["ann", "x"] == (topic["theta"], topic["se"], "student_topic_theta")
    assert found["ann", "y"] == (0.7, 0.5, "mirt_ability")
    assert pd.isna(pd.Series(found["bob", "y"], dtype=object)).all()


def _insert(settings: Settings, table: str, rows: list[dict[str, Any]]) -> None:
    from irt_analytics import db

    with db.connect(settings) as connection:
        db.ensure_partitions(connection, [WEDNESDAY])
        db.copy_frame(connection, table, pd.DataFrame(rows).assign(tenant_id="default"))


def _log(seed: int = 1, learners: int = 60) -> pd.DataFrame:
    """Twelve weeks of answers of some learners to the bank's items in three topics."""
    log = simulate_log(learners=learners, items=8, last_day=WEDNESDAY, days=84, topics=3, seed=seed, share=0.8)
    return log.assign(item_id=log["item_id"].str.replace("i00", "i"))


def test_past_days_have_the_theta_of_their_own_week_s_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theta from later answers would let a model trained on the features see the future.

    tau alone is the run's, estimated from all that the run may see; here it is the same for both runs.
    """
    monkeypatch.setattr(features_backfill, "estimate_topic_sd", lambda *_: 0.4)
    publish(settings)
    log = _log(learners=250)
    write_log(settings, log)
    sunday = date(2026, 1, 4)
    known = log[log["completed_at"] < pd.Timestamp(sunday + timedelta(days=1), tz="UTC")]
    write_log(settings, known, tenant="then")
    publish(settings, tenant="then")
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    assert run(settings, "features_backfill", WEDNESDAY, tenant="then") == 0

    def until_sunday(table: str, day: str, tenant: str) -> pd.DataFrame:
        frame = rows_of(settings, table, tenant=tenant)
        return frame[frame[day] <= sunday].drop(columns="tenant_id").reset_index(drop=True)

    for table, day in (("features_topic_daily", "date"), ("student_week_theta", "week_start")):
        now, then = until_sunday(table, day, "default"), until_sunday(table, day, "then")
        assert len(now) > 50
        pd.testing.assert_frame_equal(now, then, check_exact=True)
    assert until_sunday("features_topic_daily", "date", "default")["theta_source"].eq("student_topic_theta").all()


@pytest.mark.parametrize("shards", [2, 7])
def test_any_number_of_shards_gives_the_same_bits(settings: Settings, shards: int) -> None:
    """Else a log that outgrows a shard would shift every number."""
    for tenant in ("default", "sharded"):
        publish(settings, tenant=tenant)
        write_log(settings, _log(learners=40), tenant=tenant)
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    assert run(settings, "features_backfill", WEDNESDAY, tenant="sharded", shards=shards) == 0
    for table in TABLES:
        whole, sharded = (rows_of(settings, table, tenant=tenant) for tenant in ("default", "sharded"))
        assert len(whole) > 40
        pd.testing.assert_frame_equal(
            sharded.drop(columns="tenant_id"), whole.drop(columns="tenant_id"), check_exact=True
        )


def test_learners_read_by_several_sessions_of_the_database_some_at_a_time_give_the_same_bits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learner whose answers fall into two parts, or into none, would have half a history."""
    publish(settings)
    write_log(settings, _log(learners=40))
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    whole = [rows_of(settings, table) for table in TABLES]
    monkeypatch.setattr(_attempts, "MANY_ANSWERS", 1)
    monkeypatch.setattr(_attempts, "SESSIONS", 3)
    monkeypatch.setattr(_attempts, "ATTEMPTS_A_PASS", 100)
    monkeypatch.setattr(features_backfill, "ATTEMPTS_A_SHARD", 25)
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    for table, rows in zip(TABLES, whole, strict=True):
        assert len(rows) > 40
        pd.testing.assert_frame_equal(rows_of(settings, table), rows, check_exact=True)


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_worked_on_by_processes_of_their_own_give_the_same_bits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """A cluster that spreads the learners must not change a number; nor a shard that ran twice, or before."""
    for tenant in ("default", "sharded"):
        publish(settings, tenant=tenant)
        write_log(settings, _log(learners=40), tenant=tenant)
    assert run(settings, "features_backfill", WEDNESDAY) == 0

    def shard(number: int, of: int) -> None:
        own = f"{number}/{of}"
        assert run(settings, "features_backfill", WEDNESDAY, tenant="sharded", shard=own, shards=of) == 0

    shard(7, 7)  # left over from another number of shards
    for number in [*range(1, shards + 1), 1]:
        shard(number, shards)
    assert rows_of(settings, "student_week_theta", tenant="sharded").empty, "nothing of a day until all of it is there"
    pieces = query(settings, "select count(*) from job_part")["count"].item()
    assert pieces == 4 * (shards + 1)
    with monkeypatch.context() as patch:
        patch.delattr(features_backfill, "_compute")  # what the shards left is taken, not computed again
        assert run(settings, "features_backfill", WEDNESDAY, tenant="sharded", shards=shards) == 0
    assert query(settings, "select from job_part").empty
    for table in TABLES:
        whole, sharded = (rows_of(settings, table, tenant=tenant) for tenant in ("default", "sharded"))
        assert len(whole) > 40
        pd.testing.assert_frame_equal(
            sharded.drop(columns="tenant_id"), whole.drop(columns="tenant_id"), check_exact=True
        )
    columns = "rows_read, rows_written, exclusions"
    whole, sharded = (
        query(
            settings, f"select {columns} from job_run where tenant_id = %s and parameters ->> 'shard' is null", tenant
        )
        for tenant in ("default", "sharded")
    )
    pd.testing.assert_frame_equal(sharded, whole)


def test_a_shard_that_fails_when_it_runs_again_leaves_nothing_to_take(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left the first time rests on the log of then; beside newer shards it would give a day that never was."""
    publish(settings)
    write_log(settings, _log(learners=8))
    for number in (1, 2):
        assert run(settings, "features_backfill", WEDNESDAY, shard=f"{number}/2", shards=2) == 0
    with monkeypatch.context() as patch:
        patch.delattr(features_backfill, "_compute")
        assert run(settings, "features_backfill", WEDNESDAY, shard="2/2", shards=2) == 1
    assert query(settings, "select distinct shard from job_part")["shard"].tolist() == [1]
    assert run(settings, "features_backfill", WEDNESDAY, shards=2) == 0
    assert len(rows_of(settings, "student_week_theta")["user_id"].unique()) == 8


def test_reruns_later_days_later_answers_and_other_tenants_change_no_row(settings: Settings) -> None:
    """The history that growth is measured on must not move under it."""
    log = _log()
    publish(settings)
    write_log(settings, log)
    write_log(settings, _log(seed=9), tenant="other")
    publish(settings, tenant="other", latent=(1.0, 2.0))
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    first = {table: rows_of(settings, table) for table in TABLES}
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    next_day = WEDNESDAY + timedelta(days=1)
    write_log(settings, [attempt("s0001", "i1", at("2026-01-29"), False, topic_id="t1")])
    publish(settings, as_of=next_day, run_id="next", latent=(0.3, 1.4))
    assert run(settings, "features_backfill", next_day) == 0
    assert run(settings, "features_backfill", WEDNESDAY, tenant="other") == 0
    assert run(settings, "features_backfill", WEDNESDAY) == 0, "reads what was published by then, not the newest"
    for table in TABLES:
        rows = rows_of(settings, table)
        of_day = rows[rows["as_of"] == WEDNESDAY].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_day, first[table], check_exact=True)
    live = rows_of(settings, "student_week_theta").query("as_of == @next_day")
    assert set(live["week_start"]) == {MONDAY}, "past weeks are not written again"
    assert set(features(settings, as_of=next_day)) == {("s0001", "t1", next_day)}
    assert (rows_of(settings, "student_week_theta", tenant="other")["sd0"] == 2.0).all()


def test_days_missed_by_an_outage_are_filled_in(settings: Settings) -> None:
    """After a week without runs the trend has no hole."""
    publish(settings, as_of=date(2026, 1, 14))
    publish(settings, as_of=WEDNESDAY, run_id="after the outage")
    write_log(settings, _log())
    assert run(settings, "features_backfill", date(2026, 1, 14)) == 0
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    weeks = rows_of(settings, "student_week_theta").query("as_of == @WEDNESDAY")
    assert weeks.groupby("week_start")["reconstructed"].first().to_dict() == {
        date(2026, 1, 12): True,  # seen only in part on the 14th
        date(2026, 1, 19): True,
        MONDAY: False,
    }
    days = query(
        settings, "select date, count(distinct as_of) as runs from features_topic_daily group by date order by date"
    )
    assert (days["runs"] == 1).all()
    answered = query(
        settings, "select distinct (completed_at at time zone 'UTC')::date as date from attempt order by 1"
    )
    assert days["date"].tolist() == answered["date"].tolist()


def test_rapid_answers_are_those_under_a_tenth_of_the_published_median(settings: Settings) -> None:
    """Guesses in a second must not move theta, and every job must call the same answers guesses."""
    bank = [item | {"median_time_ms": 10_000.0} for item in BANK]
    publish_bank(settings, bank, as_of=WEDNESDAY, window_start=WEDNESDAY - timedelta(days=29))
    write_log(
        settings,
        [
            attempt("ann", "i0", at("2026-01-27"), True, response_time_ms=1000),
            attempt("ann", "i1", at("2026-01-27"), True, response_time_ms=999),
            attempt("ann", "i2", at("2026-01-27"), True, response_time_ms=5000, timed_out=True),
        ],
    )
    assert run(settings, "features_backfill", WEDNESDAY) == 0
    assert rows_of(settings, "student_week_theta")["n"].tolist() == [1]
    excluded = {entry["reason"]: entry["count"] for entry in last_run(settings)["exclusions"]}
    assert excluded == {"timed-out answers": 1, "rapid answers": 1}
    assert run(settings, "features_backfill", WEDNESDAY, invalid_answers="wrong") == 0
    (week,) = rows_of(settings, "student_week_theta").to_dict("records")
    answers = [(BANK[j]["a"], BANK[j]["b"], j == 0) for j in range(3)]
    assert week["n"] == 3
    assert (week["m"], week["s"]) == pytest.approx(moments(answers, 0.0, 1.0), abs=1e-6)


def test_without_a_published_bank_the_job_says_what_to_run_first(settings: Settings) -> None:
    write_log(settings, _log(learners=3))
    assert run(settings, "features_backfill", WEDNESDAY) == RefusedError.exit_code
    assert "no items published by 2026-01-28: theta needs a bank; run mirt_calibrate" in str(
        last_run(settings)["error"]
    )
    publish(settings, as_of=WEDNESDAY + timedelta(days=1))
    assert run(settings, "features_backfill", WEDNESDAY) == RefusedError.exit_code, "a later bank is not this day's"
