"""The calibration job: which answers it reads, what it publishes, and when it refuses."""

import functools
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from tests.integration import kpi_reference
from tests.integration.kpi_reference import BankItem
from tests.integration.logs import (
    at,
    attempt,
    last_run,
    publish_bank,
    query,
    rows_of,
    run,
    simulate_log,
    tag_anchors,
    write_log,
)

from irt_analytics import db
from irt_analytics.errors import ConfigurationError, RefusedError
from irt_analytics.ingest import load_log
from irt_analytics.irt import Responses, calibrate, estimate_abilities
from irt_analytics.jobs import _attempts, mirt_calibrate
from irt_analytics.jobs._attempts import Attempts
from irt_analytics.settings import Settings

DATA = Path(__file__).parents[3] / "shared" / "data"
DAY = date(2026, 1, 31)
TABLES = ("mirt_fit_meta", "mirt_item_params", "mirt_ability")
FEW: dict[str, Any] = {"min_answers_item": 50}

REFUSED, BAD_INPUT = RefusedError.exit_code, ConfigurationError.exit_code


def meta_of(settings: Settings, as_of: date) -> dict[str, Any]:
    """The one calibration of a day."""
    metas = rows_of(settings, "mirt_fit_meta")
    of_day = metas[metas["as_of"] == as_of]
    assert len(of_day) == 1
    return dict(of_day.iloc[0])


def items_of(settings: Settings, as_of: date) -> pd.DataFrame:
    """Its items."""
    items = rows_of(settings, "mirt_item_params")
    of_run: pd.DataFrame = items[items["run_id"] == meta_of(settings, as_of)["run_id"]]
    return of_run.set_index("item_id")


def first_attempts(settings: Settings, first: date, last: date, tenant: str = "default") -> list[tuple[Any, ...]]:
    """Learner, item, correctness and topic of the first attempts; what reads all answers has to mark the same ones."""
    frame = query(
        settings,
        "select student_id, item_id, correct, topic_id from first_attempts(%s, %s, %s) order by 1, 2",
        tenant,
        first,
        last,
    )
    with db.reading(
        settings,
        "attempts/window",
        each=_attempts.compact,
        tenant_id=tenant,
        first_day=first,
        as_of=last,
        first_bucket=0,
        last_bucket=1023,
        sessions=True,
        topics=True,
        look_back=True,
    ) as (batches,):
        rows = list(batches)
    table = pa.Table.from_batches(rows)
    is_first = Attempts.from_batches(rows).first_answers()
    marked = table.to_pandas()[is_first].sort_values(["student_id", "item_id"])[list(frame.columns)]
    found = list(frame.itertuples(index=False, name=None))
    assert list(marked.itertuples(index=False, name=None)) == found
    return found


def test_only_the_first_answer_ever_counts_and_only_inside_the_window(settings: Settings) -> None:
    """Else items would look easier the more often they are repeated."""
    write_log(
        settings,
        [
            attempt("ann", "before", at("2026-01-01"), False),
            attempt("ann", "before", at("2026-01-20"), True),  # a repeat, although the first in the window
            attempt("ann", "twice", at("2026-01-20", "09:00"), False),
            attempt("ann", "twice", at("2026-01-20", "10:00"), True),
            attempt("ann", "edges", at("2026-01-02", "00:00"), True),
            attempt("bob", "edges", at("2026-01-31", "23:59"), True),
            attempt("cyd", "edges", at("2026-02-01", "00:00"), True),  # after as_of
            attempt("dan", "edges", at("2026-01-01", "23:59"), True),
            attempt("eve", "unknown", at("2026-01-05"), None),  # no outcome: not an answer
            attempt("eve", "unknown", at("2026-01-06"), False),
        ],
    )
    write_log(settings, [attempt("ann", "edges", at("2026-01-01"), False)], tenant="other")
    assert first_attempts(settings, date(2026, 1, 2), DAY) == [
        ("ann", "edges", True, "t"),
        ("ann", "twice", False, "t"),
        ("bob", "edges", True, "t"),
        ("eve", "unknown", False, "t"),
    ]
    assert first_attempts(settings, date(2026, 1, 1), date(2026, 1, 1)) == [
        ("ann", "before", False, "t"),
        ("dan", "edges", True, "t"),
    ]
    assert first_attempts(settings, date(2026, 1, 1), DAY, tenant="other") == [("ann", "edges", False, "t")]


def test_answers_of_the_same_moment_are_told_apart_the_same_way_every_time(settings: Settings) -> None:
    """Else a rerun could calibrate other answers than the first run."""
    moment = at("2026-01-05")
    tied = [
        attempt("ann", "i", moment, True, attempt_no=2),
        attempt("ann", "i", moment, False, attempt_no=1),
        attempt("ann", "i", moment, False),
        attempt("bob", "i", moment, True),
        attempt("bob", "i", moment, False),
        attempt("cyd", "i", moment, True, topic_id="slow", response_time_ms=9_000),
        attempt("cyd", "i", moment, True, topic_id="fast", response_time_ms=5_000),
        attempt("cyd", "i", moment, True, topic_id="a", response_time_ms=-1),
        attempt("dan", "i", moment, True, topic_id="late", timed_out=True),
        attempt("dan", "i", moment, True, topic_id="never", timed_out=None),
        attempt("eve", "i", moment, True, topic_id="é"),
        attempt("eve", "i", moment, True, topic_id="z"),
        attempt("eve", "i", moment, True, topic_id=None),
    ]
    write_log(settings, tied)
    write_log(settings, tied[::-1], tenant="reversed")
    expected = [
        ("ann", "i", False, "t"),
        ("bob", "i", False, "t"),
        ("cyd", "i", True, "fast"),
        ("dan", "i", True, "never"),
        ("eve", "i", True, "z"),
    ]
    assert first_attempts(settings, date(2026, 1, 1), DAY) == expected
    assert first_attempts(settings, date(2026, 1, 1), DAY, tenant="reversed") == expected


def candidates(settings: Settings, search_start: date, minimum: int) -> list[tuple[Any, ...]]:
    frame = db.read_arrow(
        settings,
        "calibration/window_candidates",
        tenant_id="default",
        search_start=search_start,
        as_of=DAY,
        minimum=minimum,
    ).to_pandas()
    return list(frame.itertuples(index=False, name=None))


def test_candidates_for_the_window_by_hand(settings: Settings) -> None:
    """x: first attempts on days 5, 10, 20. y: on day 18, and only a repeat on day 25. z: on day 2."""
    write_log(
        settings,
        [
            *(attempt(who, "x", at(f"2026-01-{day:02}")) for who, day in (("ann", 5), ("bob", 10), ("cyd", 20))),
            attempt("ann", "y", at("2026-01-18")),
            attempt("ann", "y", at("2026-01-25")),
            attempt("ann", "z", at("2026-01-02")),
        ],
    )
    assert candidates(settings, date(2026, 1, 1), 2) == [
        (date(2026, 1, 25), 1, 0),  # y is answered since then, if only again
        (date(2026, 1, 20), 2, 0),
        (date(2026, 1, 10), 2, 1),  # x has two first attempts since then
        (date(2026, 1, 2), 3, 1),
    ]
    assert candidates(settings, date(2026, 1, 15), 1) == [
        (date(2026, 1, 25), 1, 0),
        (date(2026, 1, 20), 2, 1),
        (date(2026, 1, 18), 2, 2),
    ]


def test_an_item_has_the_topic_that_most_of_its_answers_carry(settings: Settings) -> None:
    """Ties go to the first in the alphabet; that an answer carries none says nothing."""
    carried: dict[str, list[str | None]] = {
        "most": ["s", "t", "t", None, None, None],
        "tie": ["v", "u"],
        "none": [None],
    }
    write_log(
        settings,
        [
            attempt(f"learner {n}", item, at("2026-01-05"), topic_id=topic)
            for item, topics in carried.items()
            for n, topic in enumerate(topics)
        ],
    )
    items = db.read_arrow(
        settings, "calibration/items", tenant_id="default", window_start=date(2026, 1, 1), as_of=DAY
    ).to_pylist()
    assert {row["item_id"]: row["topic_id"] for row in items} == {"most": "t", "tie": "u", "none": None}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (date(2026, 1, 18), date(2026, 1, 10)),  # 0 of 3: not enough; since the 10th 2 of 4 are half
        (date(2026, 1, 11), date(2026, 1, 10)),
        (date(2026, 1, 10), date(2026, 1, 10)),
        (date(2026, 1, 8), date(2026, 1, 8)),  # a start between two rows has the numbers of the later
        (date(2026, 1, 5), date(2026, 1, 1)),  # 2 of 6 are too few, 3 of 6 are half
        (date(2025, 1, 1), date(2025, 1, 1)),  # before the first answer
    ],
)
def test_window_reaches_back_only_as_far_as_it_must(asked: date, expected: date) -> None:
    """Further back is older theta, not so far is items without answers."""
    rows = [(20, 3, 0), (10, 4, 2), (5, 6, 2), (1, 6, 3)]
    frame = pd.DataFrame(
        [(date(2026, 1, day), items, enough) for day, items, enough in rows],
        columns=["window_start", "items", "items_enough"],
    )
    assert mirt_calibrate.sufficient_start(frame, asked) == expected
    assert mirt_calibrate.sufficient_start(frame[frame["items_enough"] == 0], asked) is None


def test_rapid_and_timed_out_answers_by_hand() -> None:
    """Times 1000, 2000, 3000, 150 of one item have the median 1500: 149 is rapid, 150 is not."""
    times = [1000, 2000, 3000, 150]
    answers = attempts_of([*times, -1], timed_out=[False] * 5)
    assert answers.median_times().tolist() == [1500.0]
    assert not answers.rapid(answers.median_times()).any()
    faster = attempts_of([*times, 149, 1], timed_out=[False] * 5 + [True])
    medians = np.array([1500.0])
    assert faster.rapid(medians).tolist() == [False] * 4 + [True, False]
    valid, correct, invalid = faster.judge(medians, "missing")
    assert valid.tolist() == [True] * 4 + [False, False]
    assert (invalid.timed_out, invalid.rapid) == (1, 1)
    valid, correct, _ = faster.judge(medians, "wrong")
    assert valid.all()
    assert correct.tolist() == [True] * 4 + [False, False]
    assert not faster.rapid(np.array([np.nan])).any(), "no median, no rapid answer"


def attempts_of(times: list[int], timed_out: list[bool]) -> Attempts:
    n = len(times)
    return Attempts(
        student_ids=pd.Index([f"s{i}" for i in range(n)]),
        item_ids=pd.Index(["i"]),
        student=np.arange(n, dtype=np.int32),
        item=np.zeros(n, dtype=np.int32),
        known=np.ones(n, dtype=np.bool_),
        correct=np.ones(n, dtype=np.bool_),
        time_ms=np.array(times, dtype=np.int32),
        timed_out=np.array(timed_out),
        columns={},
        texts={},
        ids={},
    )


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_first_calibration_is_the_library_s_on_the_same_answers(settings: Settings, model: str) -> None:
    """The job must add nothing to the numbers that a psychometrician gets from the library."""
    log = simulate_log(learners=400, items=20, last_day=DAY)
    write_log(settings, log)
    assert run(settings, "mirt_calibrate", DAY, model=model) == 0

    responses = Responses.from_long(log["student_id"], log["item_id"], log["correct"].astype(int))
    fit = calibrate(responses, model=model, priors="weak")  # type: ignore[arg-type]
    items = rows_of(settings, "mirt_item_params")
    columns = ["a", "b", "se_b", "p_value"] + (["se_a"] if model == "2PL" else [])
    np.testing.assert_array_equal(items["item_id"], fit.items["item_id"])
    np.testing.assert_allclose(items[columns].astype(float), fit.items[columns], atol=1e-12)
    assert items["se_a"].isna().all() == (model == "Rasch")
    assert (items["status"] == "estimated").all()
    assert (items["first_published_as_of"] == DAY).all()

    abilities, expected = rows_of(settings, "mirt_ability"), estimate_abilities(responses, fit.items)
    np.testing.assert_array_equal(abilities["user_id"], expected["student_id"])
    np.testing.assert_allclose(abilities[["theta", "se"]], expected[["theta", "se"]], atol=1e-12)

    meta = rows_of(settings, "mirt_fit_meta").iloc[0]
    assert meta["published"]
    assert meta["latent_mean"] == 0.0
    assert meta["latent_sd"] == pytest.approx(fit.latent_sd)
    assert (meta["latent_sd"] == 1.0) == (model == "2PL"), "Rasch keeps a = 1, so that its sd of theta is estimated"
    assert meta["log_likelihood"] == pytest.approx(fit.log_likelihood)
    assert meta["se_method"] == "full"
    assert meta["model_spec"]["linking_constants"]["n_anchors_used"] == 0
    assert meta["model_spec"]["reference_run_id"] is None


def test_next_calibration_stays_on_the_published_scale(settings: Settings) -> None:
    """A cohort one sd better must not push every item down by one sd."""
    write_log(settings, simulate_log(learners=600, items=20, last_day=DAY))
    assert run(settings, "mirt_calibrate", DAY) == 0
    first = rows_of(settings, "mirt_item_params").set_index("item_id")
    later = DAY + timedelta(days=30)
    better = simulate_log(learners=600, items=20, last_day=later, seed=1)
    # The same items; a learner who answers as one of theta + 1 would, by flipping wrong answers with the right odds.
    truth = np.random.default_rng(1)
    a, b = np.exp(truth.normal(0.0, 0.3, 20)), truth.normal(0.0, 1.0, 20)
    theta = np.random.default_rng(5).normal(1.0, 1.0, 600)
    student = better["student_id"].str[1:].astype(int).to_numpy()
    item = better["item_id"].str[1:].astype(int).to_numpy()
    p = 1.0 / (1.0 + np.exp(-a[item] * (theta[student] - b[item])))
    better["correct"] = np.random.default_rng(6).random(len(p)) < p
    better["student_id"] = "later-" + better["student_id"]
    write_log(settings, better)
    assert run(settings, "mirt_calibrate", later, max_scale_shift=1.5) == 0

    meta = meta_of(settings, later)
    constants = meta["model_spec"]["linking_constants"]
    assert constants["method"] == "stocking_lord"
    assert constants["n_anchors_used"] == 20
    assert constants["B"] == pytest.approx(1.0, abs=0.15)
    assert constants["A"] == pytest.approx(1.0, abs=0.15)
    assert (meta["latent_mean"], meta["latent_sd"]) == pytest.approx((constants["B"], constants["A"]))
    second = items_of(settings, later)
    shift = second["b"] - first["b"]
    assert abs(shift.mean()) < 0.05
    assert (second["first_published_as_of"] == DAY).all()
    assert rows_of(settings, "mirt_ability").query("as_of == @later")["theta"].mean() == pytest.approx(1.0, abs=0.15)


def test_a_rerun_a_later_day_other_tenants_and_later_answers_change_nothing(settings: Settings) -> None:
    """Else a trend could be an artefact of the order of runs."""
    log = simulate_log(learners=200, items=12, last_day=DAY)
    write_log(settings, log)
    write_log(settings, simulate_log(learners=150, items=12, last_day=DAY, seed=3), tenant="other")
    assert run(settings, "mirt_calibrate", DAY, **FEW) == 0
    first = {table: rows_of(settings, table) for table in TABLES}

    write_log(
        settings,
        simulate_log(learners=50, items=12, last_day=DAY + timedelta(days=9), days=9, seed=2).assign(
            student_id=lambda frame: "late-" + frame["student_id"]
        ),
    )
    assert run(settings, "mirt_calibrate", DAY + timedelta(days=9), **FEW) == 0
    assert run(settings, "mirt_calibrate", DAY, tenant="other", **FEW) == 0
    assert run(settings, "mirt_calibrate", DAY, shards=7, **FEW) == 0
    for table in TABLES:
        day = rows_of(settings, table)
        if "as_of" in day:
            day = day[day["as_of"] == DAY]
        else:
            day = day[day["run_id"] == first["mirt_fit_meta"]["run_id"].iloc[0]]
        # A column of nulls alone has another type than the same nulls beside a later day's values.
        now, before = (
            frame.astype(object).where(frame.notna(), None) for frame in (day.reset_index(drop=True), first[table])
        )
        pd.testing.assert_frame_equal(now, before)
    others = rows_of(settings, "mirt_ability", tenant="other")
    assert len(others) == 150
    assert set(others["run_id"]).isdisjoint(first["mirt_ability"]["run_id"])


def test_answers_read_by_several_sessions_give_the_same_to_the_bit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each session reads some of the learners, in whatever order they arrive: none may be lost or be there twice."""
    tables = (*TABLES, "mirt_item_fit", "mirt_quality_meta")
    write_log(settings, simulate_log(learners=400, items=20, last_day=DAY))
    assert run(settings, "mirt_calibrate", DAY) == 0
    by_one = [rows_of(settings, table) for table in tables]
    with monkeypatch.context() as patched:
        patched.setattr(_attempts, "MANY_ANSWERS", 1)
        patched.setattr(_attempts, "SESSIONS", 3)
        assert run(settings, "mirt_calibrate", DAY) == 0
    for one, several in zip(by_one, (rows_of(settings, table) for table in tables), strict=True):
        pd.testing.assert_frame_equal(one, several, check_exact=True)


def test_a_past_day_reads_the_bank_of_its_own_time_or_is_refused(settings: Settings) -> None:
    """A backfill that linked to a later scale would rewrite history by what was not yet known, and one that set a scale
    of its own would publish two scales as one trend.
    """
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    days = [DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert run(settings, "mirt_calibrate", days[1], **FEW) == 0
    assert run(settings, "mirt_calibrate", days[2], **FEW) == 0
    assert run(settings, "mirt_calibrate", days[0], **FEW) == REFUSED
    assert "the scale of tenant 'default' is published since 2026-02-01, and a calibration of an" in error_of(settings)
    assert set(rows_of(settings, "mirt_fit_meta")["as_of"]) == set(days[1:])
    assert run(settings, "mirt_calibrate", days[1], **FEW) == 0, "the first day itself can be run again"
    first = meta_of(settings, days[1])
    assert first["model_spec"]["reference_run_id"] is None
    assert meta_of(settings, days[2])["model_spec"]["reference_run_id"] == first["run_id"]


def test_a_dry_run_writes_nothing(settings: Settings) -> None:
    """It is how people look before they leap."""
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    assert run(settings, "mirt_calibrate", DAY, dry_run=True, **FEW) == 0
    for table in (*TABLES, "job_run"):
        assert rows_of(settings, table).empty


def test_items_with_few_answers_keep_published_parameters_or_are_provisional(settings: Settings) -> None:
    """An item must neither jump on thirty answers nor be missing from the bank."""
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    extra = [
        attempt(f"s{i:04}", item, at("2026-01-15"), correct=i % 3 > 0)
        for item, n in (
            ("few-published", 30),
            ("few-outgrown", 40),
            ("few-new", 30),
            ("rare", 5),
            ("rare-published", 5),
        )
        for i in range(n)
    ]
    write_log(settings, extra)
    publish_bank(
        settings,
        [
            *({"item_id": f"i{j:03}", "a": 1.0, "b": 0.1 * j, "n_responses": 500} for j in range(12)),
            {"item_id": "few-published", "a": 1.3, "b": -0.4, "n_responses": 200, "median_time_ms": 9.5},
            {"item_id": "few-outgrown", "a": 1.3, "b": -0.4, "n_responses": 25, "status": "provisional"},
            {"item_id": "rare-published", "a": 0.8, "b": 2.0, "n_responses": 200},
            {"item_id": "unanswered", "a": 0.7, "b": 1.0, "n_responses": 200},
        ],
        as_of=DAY - timedelta(days=1),
        window_start=DAY - timedelta(days=30),
    )
    assert run(settings, "mirt_calibrate", DAY, max_scale_shift=2, max_item_shift=2) == 0
    items = items_of(settings, DAY)
    assert items.loc[["few-published", "rare-published", "unanswered"], "status"].tolist() == ["frozen"] * 3
    kept = dict(items.loc["few-published", ["a", "b", "n_responses", "median_time_ms"]])
    assert kept == {"a": 1.3, "b": -0.4, "n_responses": 200, "median_time_ms": 9.5}
    assert dict(items.loc["rare-published", ["a", "b"]]) == {"a": 0.8, "b": 2.0}
    assert items.loc[["few-outgrown", "few-new"], "status"].tolist() == ["provisional"] * 2
    assert items.loc["few-outgrown", "n_responses"] == 40
    assert items.loc["few-new", "first_published_as_of"] == DAY
    assert items.loc["few-outgrown", "first_published_as_of"] == DAY - timedelta(days=1)
    assert "rare" not in items.index
    assert (items.filter(like="i0", axis=0)["status"] == "estimated").all()
    excluded = {entry["reason"]: entry["count"] for entry in last_run(settings)["exclusions"]}
    assert excluded["items under 20 first attempts"] == 2
    assert excluded["items on earlier parameters"] == 3
    assert excluded["items with provisional parameters"] == 2


def test_provisional_items_have_the_weak_prior_where_the_others_have_none(settings: Settings) -> None:
    """Two odd answers of forty would publish, and freeze, a slope below zero."""
    log = simulate_log(learners=300, items=12, last_day=DAY)
    score = log.groupby("student_id")["correct"].sum().sort_values(kind="stable").index
    able = [attempt(student, "few", at("2026-01-15"), correct=i < 28) for i, student in enumerate(score[-30:])]
    write_log(settings, log)
    write_log(settings, able)
    assert run(settings, "mirt_calibrate", DAY, priors="none") == 0
    items = items_of(settings, DAY)
    assert items.loc["few", "status"] == "provisional"
    assert items["a"]["few"] > 0.3
    fit = calibrate(Responses.from_long(log["student_id"], log["item_id"], log["correct"]))
    np.testing.assert_allclose(items.drop("few")[["a", "b"]], fit.items[["a", "b"]], atol=0.03)
    assert meta_of(settings, DAY)["priors"] == "none; provisional items: a ~ lognormal(0, 0.5)"


def test_invalid_answers_are_missing_or_wrong_as_asked_and_counted(settings: Settings) -> None:
    """Guesses in a second must not make an item look hard without anybody saying so."""
    log = simulate_log(learners=200, items=12, last_day=DAY).assign(response_time_ms=20_000, timed_out=False)
    log.loc[log.index % 20 == 0, "response_time_ms"] = 500
    log.loc[log.index % 50 == 7, "timed_out"] = True
    write_log(settings, log)
    rapid, timed_out = int((log.index % 20 == 0).sum()), int((log.index % 50 == 7).sum())
    for choice, answers in (("missing", len(log) - rapid - timed_out), ("wrong", len(log))):
        assert run(settings, "mirt_calibrate", DAY, invalid_answers=choice, **FEW) == 0
        meta = rows_of(settings, "mirt_fit_meta").iloc[0]
        assert meta["n_responses"] == answers
        excluded = {entry["reason"]: (entry["count"], entry["detail"]) for entry in meta["exclusions"]}
        assert excluded["timed-out answers"] == (timed_out, f"counted as {choice}")
        assert excluded["rapid answers"][0] == rapid
        if choice == "wrong":
            right = log["correct"] & ~log["timed_out"] & (log["response_time_ms"] > 500)
            by_item = right.groupby(log["item_id"]).mean()
            found = rows_of(settings, "mirt_item_params").set_index("item_id")["p_value"]
            pd.testing.assert_series_equal(found, by_item, check_names=False)
    assert rows_of(settings, "mirt_item_params")["median_time_ms"].eq(20_000).all()


def test_anchors_are_those_tagged_where_there_are_some(settings: Settings) -> None:
    """Whoever tags anchors wants the scale to rest on them alone."""
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    tagged = ["i003", "i005", "i007", "i008", "i010"]
    tag_anchors(settings, tagged)
    assert run(settings, "mirt_calibrate", DAY, **FEW) == 0
    assert run(settings, "mirt_calibrate", DAY + timedelta(days=1), linking="mean_sigma", **FEW) == 0
    meta = meta_of(settings, DAY + timedelta(days=1))
    constants = meta["model_spec"]["linking_constants"]
    assert (constants["method"], constants["n_anchors_used"], constants["pool"]) == (
        "mean_sigma",
        5,
        "tagged as anchors",
    )
    items = items_of(settings, DAY + timedelta(days=1))
    assert items.index[items["anchor"]].tolist() == tagged


def test_anchors_that_moved_are_left_out_and_begin_anew(settings: Settings) -> None:
    """Three leaked items would make every learner look better; and once corrected they must not be called again."""
    days, leaked = [DAY + timedelta(days=later) for later in (0, 30, 31, 60)], ["i002", "i007", "i011"]
    write_log(settings, simulate_log(learners=700, items=20, last_day=days[0]))
    truth, rng = np.random.default_rng(1), np.random.default_rng(5)
    a, b = np.exp(truth.normal(0.0, 0.3, 20)), truth.normal(0.0, 1.0, 20)
    b[[int(item[1:]) for item in leaked]] -= 1.5
    for month, seed in ((days[1], 4), (days[3], 6)):
        later = simulate_log(learners=700, items=20, last_day=month, seed=seed)
        student, item = (later[name].str[1:].astype(int).to_numpy() for name in ("student_id", "item_id"))
        right = 1 / (1 + np.exp(-a[item] * (rng.normal(size=700)[student] - b[item])))
        later["correct"] = rng.random(len(later)) < right
        write_log(settings, later.assign(student_id=f"{month}-" + later["student_id"]))
    for day in days:
        assert run(settings, "mirt_calibrate", day) == 0

    items = items_of(settings, days[1])
    assert items.index[items["drifted"]].tolist() == leaked
    assert (items["drift_p_value"] < 0.05 / 20).equals(items["drifted"])
    assert (items["anchor"]).all()
    constants = meta_of(settings, days[1])["model_spec"]["linking_constants"]
    assert constants["n_anchors_used"] == 17
    assert set(constants["dropped"]) == set(leaked)
    assert abs(constants["B"]) < 3 * constants["se_B"] < 0.3
    first = items_of(settings, days[0])
    assert ((items["b"] - first["b"])[leaked] < -1.0).all(), "their new parameters are the published ones"
    assert [str(day) for day in items["reference_as_of"]] == [
        str(days[1] if item in leaked else days[0]) for item in items.index
    ]
    next_day = items_of(settings, days[2])
    assert not next_day["drifted"].any()
    constants = meta_of(settings, days[2])["model_spec"]["linking_constants"]
    assert constants["n_anchors_used"] == 17, "in a window from before the leak they are no anchors"
    assert constants["left_out"] == [{"reason": "drifted in the window", "count": 3, "examples": leaked}]
    assert (next_day["reference_as_of"][leaked] == days[2]).all()
    month_later = items_of(settings, days[3])
    assert not month_later["drifted"].any()
    assert meta_of(settings, days[3])["model_spec"]["linking_constants"]["n_anchors_used"] == 20


def test_every_day_links_to_what_was_first_published(settings: Settings) -> None:
    """Linked to yesterday's values, the scale would wander by the sum of all days' errors."""
    write_log(settings, simulate_log(learners=400, items=15, last_day=DAY + timedelta(days=2)))
    for day in range(2):
        assert run(settings, "mirt_calibrate", DAY + timedelta(days=day)) == 0
    yesterday = meta_of(settings, DAY + timedelta(days=1))["run_id"]
    with db.connect(settings) as connection:
        connection.execute("update mirt_item_params set b = b + 0.25 where run_id = %s", (yesterday,))
    assert run(settings, "mirt_calibrate", DAY + timedelta(days=2)) == 0
    constants = meta_of(settings, DAY + timedelta(days=2))["model_spec"]["linking_constants"]
    assert abs(constants["B"]) < 0.05
    assert 0.0 < constants["se_B"] < 0.03, "nearly all answers and learners are the first day's"
    assert (items_of(settings, DAY + timedelta(days=2))["reference_as_of"] == DAY).all()


@pytest.mark.parametrize("linking", ["stocking_lord", "fixed"])
def test_the_first_calibration_takes_the_scale_of_documented_parameters(settings: Settings, linking: str) -> None:
    """Who brings a bank wants its scale: theta of a cohort one sd above it must not restart at 0."""
    log = simulate_log(learners=700, items=15, last_day=DAY)
    write_log(settings, log)
    truth = np.random.default_rng(1)
    a, b = np.exp(truth.normal(0.0, 0.3, 15)), truth.normal(0.0, 1.0, 15)
    # The scale on which this cohort has mean 1 and sd 1.25.
    bank = [{"a": a[j] / 1.25, "b": 1.25 * b[j] + 1.0} for j in range(12)]
    rows = [{"item_id": f"i{j:03}", "meta": {"irt": irt}} for j, irt in enumerate(bank)]
    rows += [{"item_id": "i012", "meta": {"irt": {"a": "1.0", "b": 0}}}, {"item_id": "i013", "meta": {"irt": {"b": 0}}}]
    rows.append({"item_id": "unanswered", "meta": {"irt": {"a": 0.8, "b": 2.0, "c": 0.2}}})
    with db.connect(settings) as connection:
        db.copy_frame(connection, "question", pd.DataFrame(rows).assign(tenant_id="default", topic_id="t"))
    for day in (DAY, DAY + timedelta(days=1)):
        assert run(settings, "mirt_calibrate", day, linking=linking) == 0
    constants = meta_of(settings, DAY)["model_spec"]["linking_constants"]
    assert (constants["reference"], constants["n_anchors_used"]) == ("bank", 12)
    if linking == "fixed":
        for each_day in (DAY, DAY + timedelta(days=1)):
            kept = items_of(settings, each_day).iloc[:12][["a", "b"]].astype(float)
            np.testing.assert_array_equal(kept, pd.DataFrame(bank))
    assert constants["A"] == pytest.approx(1.25, abs=3 * constants["se_A"])
    assert constants["B"] == pytest.approx(1.0, abs=3 * constants["se_B"])
    assert max(constants["se_A"], constants["se_B"]) < 0.1
    items = items_of(settings, DAY)
    assert dict(items.loc["unanswered", ["a", "b", "c", "status"]]) == {
        "a": 0.8,
        "b": 2.0,
        "c": 0.2,
        "status": "frozen",
    }
    assert (items["reference_as_of"] == DAY).all()
    following = meta_of(settings, DAY + timedelta(days=1))
    assert following["model_spec"]["linking_constants"]["reference"] == "published"
    assert following["latent_mean"] == pytest.approx(meta_of(settings, DAY)["latent_mean"], abs=0.05)


def test_rasch_calibrations_link_by_b_alone(settings: Settings) -> None:
    """With a = 1 kept, an A other than 1 would leave the Rasch model."""
    write_log(settings, simulate_log(learners=300, items=12, last_day=DAY))
    later = DAY + timedelta(days=5)
    assert run(settings, "mirt_calibrate", DAY, model="Rasch") == 0
    assert run(settings, "mirt_calibrate", later, model="Rasch") == 0
    assert (rows_of(settings, "mirt_item_params")["a"] == 1.0).all()
    constants = meta_of(settings, later)["model_spec"]["linking_constants"]
    assert (constants["A"], constants["se_A"]) == (1.0, 0.0)


def two_months(later: date, learners: int, newcomers: int, b: NDArray[np.float64]) -> pd.DataFrame:
    """A month of 15 items at random up to `DAY`; then learners get 15 of those near what they showed, in order of b.

    Newcomers get any. Nobody gets an item twice.
    """
    rng, n, fan = np.random.default_rng(8), learners + newcomers, 24
    theta, order = rng.normal(0.0, 1.0, n), rng.random((n, len(b))).argsort(axis=1)
    logs = []
    for last_day, part in ((DAY, np.arange(n) < learners), (later, np.ones(n, dtype=bool))):
        student = np.repeat(np.flatnonzero(part), 15)
        item = order[part, :15].ravel()
        correct = rng.random(len(item)) < 1 / (1 + np.exp(b[item] - theta[student]))
        log = simulate_log(learners=n, items=15, last_day=last_day).head(len(item))
        names = {"student_id": [f"s{i:04}" for i in student], "item_id": [f"i{j:03}" for j in item]}
        logs.append(log.assign(**names, correct=correct))
        # What a learner showed against what was expected says which items come next; those answered go to the end.
        shown = np.bincount(student, correct - 1 / (1 + np.exp(b[item])), minlength=n)[:learners]
        first = (shown.argsort().argsort() / learners * (len(b) - fan)).round().astype(int)
        for learner in range(learners):
            near = np.arange(first[learner], first[learner] + fan)
            order[learner] = np.concatenate([rng.permutation(near), np.setdiff1d(np.arange(len(b)), near)])
            used = np.isin(order[learner], item[student == learner])
            order[learner] = np.concatenate([order[learner][~used], order[learner][used]])
    return pd.concat(logs)


def test_items_routed_by_earlier_ability_stay_where_they_are(settings: Settings) -> None:
    """With one population for all, hard items would look easier every month, for abler learners get them."""
    later, b = DAY + timedelta(days=30), np.sort(np.random.default_rng(7).normal(0.0, 1.0, 60))
    write_log(settings, two_months(later, 1_200, 200, b))
    assert run(settings, "mirt_calibrate", DAY) == 0
    assert meta_of(settings, DAY)["model_spec"]["groups"]["reason"].startswith("no calibration is published yet")
    errors, slopes = {}, {}
    # Answers to items near one's ability are the hardest to foretell, so that the fit of the first month is no measure.
    lenient: dict[str, Any] = {"max_fit_loss": 1, "max_item_shift": 5, "max_slope_change": 5, "max_scale_shift": 5}
    for groups in ("none", "earlier_ability"):
        assert run(settings, "mirt_calibrate", later, groups=groups, **lenient) == 0
        items = items_of(settings, later)
        off = items["b"] - b[[int(item[1:]) for item in items.index]]
        errors[groups] = float((off**2).mean() ** 0.5)
        slopes[groups] = 1 + float(np.polyfit(b, off, 1)[0])
    assert slopes["none"] < 0.8 < 0.9 < slopes["earlier_ability"] < 1.1
    assert errors["earlier_ability"] < 0.5 * errors["none"]

    meta = meta_of(settings, later)
    found, constants = meta["model_spec"]["groups"], meta["model_spec"]["linking_constants"]
    assert (found["known_as_of"], found["said"]) == (str(DAY), "5 strata and newcomers")
    table = pd.DataFrame(found["groups"]).set_index("group")
    assert table["n"].sum() == meta["n_persons"] == 1_400
    assert table["mean"].iloc[:5].is_monotonic_increasing
    assert table.loc["newcomers", "mean"] == pytest.approx(0.0, abs=0.3)
    assert (table[["se_mean", "se_sd"]] > 0).all().all()
    shares = table["n"] / 1_400
    mean = (shares * table["mean"]).sum()
    assert meta["latent_mean"] == pytest.approx(mean) == pytest.approx(constants["B"])
    assert meta["latent_sd"] == pytest.approx((shares * (table["sd"] ** 2 + (table["mean"] - mean) ** 2)).sum() ** 0.5)
    # The prior of everybody's ability is that of all learners together.
    abilities = query(settings, "select theta, se from mirt_ability where as_of = %s", later)
    assert abilities["theta"].mean() == pytest.approx(mean, abs=0.1)
    assert run(settings, "mirt_calibrate", later) == 0, "the same again: strata come from before the window"
    assert meta_of(settings, later)["run_id"] == meta["run_id"]


def test_fixed_anchors_keep_their_parameters_and_new_items_join_them(settings: Settings) -> None:
    """Who froze a bank for an examination must find it untouched, and new items on its scale with other learners."""
    first = simulate_log(learners=600, items=20, last_day=DAY)
    write_log(settings, first[first["item_id"] < "i016"])
    assert run(settings, "mirt_calibrate", DAY, linking="fixed") == 0
    before = items_of(settings, DAY)
    later = DAY + timedelta(days=30)
    log = another_cohort(later, 20, mean=1.0)
    write_log(settings, log)
    assert run(settings, "mirt_calibrate", later, linking="fixed", irt_engine="mirt") == BAD_INPUT
    assert run(settings, "mirt_calibrate", later, linking="fixed", max_scale_shift=2) == 0

    items, new = items_of(settings, later), [f"i{j:03}" for j in range(16, 20)]
    columns = ["a", "b", "c", "se_a", "se_b", "cov_ab", "n_responses", "reference_as_of"]
    pd.testing.assert_frame_equal(items.drop(new)[columns], before[columns], check_dtype=False)
    assert (items.drop(new)["status"] == "frozen").all()
    assert (items.loc[new, "status"] == "estimated").all()
    anchors = before.reset_index()[["item_id", "a", "b", "c"]].astype(dict.fromkeys("abc", float))
    responses = Responses.from_long(log["student_id"], log["item_id"], log["correct"])
    fit = calibrate(responses, fixed=anchors, priors="weak", weak_unit=1.0)
    estimates = ["a", "b", "se_a", "se_b"]
    expected = fit.items.set_index("item_id").loc[new, estimates]
    np.testing.assert_allclose(items.loc[new, estimates].astype(float), expected, atol=1e-10)

    meta = meta_of(settings, later)
    constants = meta["model_spec"]["linking_constants"]
    assert (constants["method"], constants["n_anchors_used"], constants["dropped"]) == ("fixed", 16, {})
    assert (meta["latent_mean"], meta["latent_sd"]) == pytest.approx((fit.latent_mean, fit.latent_sd))
    assert (constants["B"], constants["A"]) == pytest.approx((fit.latent_mean, fit.latent_sd))
    group = fit.groups.iloc[0]
    assert (constants["se_B"], constants["se_A"]) == pytest.approx((group["se_mean"], group["se_sd"]))
    assert constants["B"] == pytest.approx(1.0, abs=4 * constants["se_B"] + 0.1)  # and the first cohort's mean

    # All are published now, so that nothing is left to estimate but the learners.
    next_day = later + timedelta(days=1)
    assert run(settings, "mirt_calibrate", next_day, linking="fixed") == 0
    pd.testing.assert_frame_equal(items_of(settings, next_day)[columns], items[columns])
    assert (items_of(settings, next_day)["status"] == "frozen").all()


def test_fixed_anchors_are_watched_by_the_same_thresholds(settings: Settings) -> None:
    """A method that lets every cohort pass would be chosen for that."""
    write_log(settings, simulate_log(learners=500, items=16, last_day=DAY))
    later = DAY + timedelta(days=30)
    write_log(settings, another_cohort(later, 16, mean=1.0))
    assert run(settings, "mirt_calibrate", DAY) == 0
    assert run(settings, "mirt_calibrate", later, linking="fixed") == REFUSED
    assert "the mean of theta lies +" in error_of(settings)


def error_of(settings: Settings) -> str:
    return str(last_run(settings)["error"])


def test_a_rasch_calibration_cannot_take_over_a_2pl_scale(settings: Settings) -> None:
    """Its unit is another one, and theta would silently change its meaning."""
    write_log(settings, simulate_log(learners=300, items=12, last_day=DAY))
    assert run(settings, "mirt_calibrate", DAY) == 0
    assert run(settings, "mirt_calibrate", DAY + timedelta(days=1), model="Rasch") == BAD_INPUT
    assert "--model=Rasch: the published scale was set by a 2PL calibration" in error_of(settings)


def test_without_items_in_common_the_published_scale_stays(settings: Settings) -> None:
    """A new term with new items only has no scale: publishing it would restart theta at 0."""
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    publish_bank(
        settings,
        [{"item_id": "another", "a": 1.0, "b": 0.0}],
        as_of=DAY - timedelta(days=1),
        window_start=DAY - timedelta(days=30),
    )
    for _ in range(2):
        assert run(settings, "mirt_calibrate", DAY, **FEW) == REFUSED
        assert (
            "not published: the calibration cannot be put on the published scale: a link needs at least 2"
            in error_of(settings)
        )
        meta = meta_of(settings, DAY)
        assert not meta["published"]
        assert "a link needs at least 2 usable anchors" in meta["reason"]
    bank = query(settings, "select item_id, as_of from published_items('default', %s)", DAY)
    assert bank.to_records(index=False).tolist() == [("another", DAY - timedelta(days=1))]
    assert rows_of(settings, "mirt_ability").empty


def test_a_fit_that_does_not_converge_is_kept_for_inspection_and_not_published(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are those of an arbitrary moment."""
    write_log(settings, simulate_log(learners=200, items=12, last_day=DAY))
    assert run(settings, "mirt_calibrate", DAY, **FEW) == 0
    published = rows_of(settings, "mirt_item_params")
    monkeypatch.setattr(mirt_calibrate, "calibrate", functools.partial(calibrate, max_iterations=2))
    assert run(settings, "mirt_calibrate", DAY, priors="none", **FEW) == REFUSED
    assert "the EM algorithm did not converge in" in error_of(settings)
    metas = rows_of(settings, "mirt_fit_meta").sort_values("published")
    assert metas["published"].tolist() == [False, True]
    assert metas["converged"].tolist() == [False, True]
    pd.testing.assert_frame_equal(rows_of(settings, "mirt_item_params"), published)


def another_cohort(last_day: date, items: int, mean: float = 0.0, *, random: bool = False) -> pd.DataFrame:
    """Answers of other learners to the items of `simulate_log`: of this mean ability, or at random."""
    log = simulate_log(learners=500, items=items, last_day=last_day, seed=4)
    truth, rng = np.random.default_rng(1), np.random.default_rng(5)
    a, b = np.exp(truth.normal(0.0, 0.3, items)), truth.normal(0.0, 1.0, items)
    student, item = (log[name].str[1:].astype(int).to_numpy() for name in ("student_id", "item_id"))
    p = 1 / (1 + np.exp(-a[item] * (rng.normal(mean, 1.0, 500)[student] - b[item])))
    return log.assign(correct=rng.random(len(log)) < (0.5 if random else p), student_id="new-" + log["student_id"])


def with_times_and_repeats(log: pd.DataFrame) -> pd.DataFrame:
    """The log with response times, and every wrong answer tried again three days later."""
    rng = np.random.default_rng(6)
    again = log[~log["correct"]]
    again = again.assign(
        completed_at=again["completed_at"] + pd.Timedelta(days=3), correct=rng.random(len(again)) < 0.6
    )
    both = pd.concat([log, again], ignore_index=True)
    times = np.exp(rng.normal(9.5, 0.3, len(both))).astype(int)
    started = both["completed_at"] - pd.to_timedelta(times, unit="ms")
    return both.assign(response_time_ms=times, started_at=started)


def assert_kpis_rest_on(settings: Settings, bank: pd.DataFrame, log: pd.DataFrame, day: date) -> None:
    """KPIs of a day's week are what a plain computation makes of these items."""
    assert run(settings, "compute_daily_kpis", day) == 0
    known = {
        str(item): BankItem(row["a"], row["b"], row["median_time_ms"])
        for item, row in bank[["a", "b", "median_time_ms"]].iterrows()
    }
    kpis = query(settings, "select * from weekly_kpi where as_of = %s and not reconstructed order by user_id", day)
    compared = dict.fromkeys(("i_t_raw", "a_t", "r_t"), 0)
    for kpi in kpis.iloc[::9].to_dict("records"):
        answers = kpi_reference.answers_of(log, kpi["user_id"], day)
        items, resolved = kpi_reference.resolution(answers, day, known)
        expected = {
            "i_t_raw": kpi_reference.growth(answers, day, known)[0],
            "a_t": kpi_reference.activity(answers, day),
            "r_t": resolved / items if items >= 5 else None,
        }
        for name, value in expected.items():
            assert pd.isna(kpi[name]) == (value is None), (name, kpi["user_id"])
            if value is not None:
                assert kpi[name] == pytest.approx(value, abs=1e-5), (name, kpi["user_id"])
                compared[name] += 1
    assert min(compared.values()) > 10


@pytest.mark.parametrize(
    ("cohort", "params", "message"),
    [
        ({"mean": 1.0}, {}, "the mean of theta lies +"),
        ({"random": True}, {}, "not published: "),
        ({}, {"min_anchors": 16}, "15 anchors carry the link, fewer than min_anchors = 16"),
        ({}, {}, "the EM algorithm did not converge in 2 iterations"),
    ],
    ids=["shifted scale", "robots", "too few anchors", "not converged"],
)
def test_after_a_refusal_all_rests_on_what_was_published_before(
    settings: Settings, cohort: dict[str, Any], params: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one bad day of answers would change everybody's theta overnight, or cost everybody the day's KPIs."""
    write_log(settings, simulate_log(learners=500, items=16, last_day=DAY).assign(response_time_ms=15_000))
    later = DAY + timedelta(days=30)
    log = another_cohort(later, 16, **cohort)
    log = with_times_and_repeats(log if not params else log[log["item_id"] != "i000"])
    write_log(settings, log)
    assert run(settings, "mirt_calibrate", DAY) == 0
    if "converge" in message:
        monkeypatch.setattr(mirt_calibrate, "calibrate", functools.partial(calibrate, max_iterations=2))
    published = items_of(settings, DAY), rows_of(settings, "mirt_ability")
    assert run(settings, "mirt_calibrate", later, **params) == REFUSED
    assert message in error_of(settings)
    refused = meta_of(settings, later)
    assert not refused["published"]
    assert message.removeprefix("not published: ") in refused["reason"]
    kept = 0 if "converge" in message else 16
    assert len(items_of(settings, later)) == kept, "what was refused is there to be looked at"
    quality = query(settings, "select from mirt_quality_meta where run_id = %s", refused["run_id"])
    assert len(quality) == bool(kept), "and what is wrong with its answers"
    for now, before in zip((items_of(settings, DAY), rows_of(settings, "mirt_ability")), published, strict=True):
        # Nulls alone have another type than the same nulls beside others' values.
        pd.testing.assert_frame_equal(
            now.astype(object).where(now.notna(), None), before.astype(object).where(before.notna(), None)
        )
    bank = query(settings, "select distinct as_of from published_items('default', %s)", later)
    assert bank["as_of"].tolist() == [DAY]
    assert_kpis_rest_on(settings, items_of(settings, DAY), log, later)


@pytest.mark.parametrize(
    ("log", "exit_code", "message"),
    [
        ([], BAD_INPUT, "tenant 'default' has no answer in the view attempt: load a log, or check ATTEMPT_SOURCE"),
        (
            [attempt("ann", "i", at("2026-02-03"))],
            BAD_INPUT,
            "--as-of=2026-01-31: the answers of tenant 'default' start on 2026-02-03; expected a day from then on",
        ),
        (
            [attempt("ann", f"i{j}", at("2026-01-05"), j % 2 == 0) for j in range(40)],
            REFUSED,
            "a 2PL calibration needs at least 3 items with 20 valid first attempts of learners who have 5 of them; "
            "since 2026-01-02, 1 learners answered 40 items, of which 0 have that many (median 1)",
        ),
        (
            [attempt(f"s{i}", "i", at("2026-01-05"), i % 2 == 0) for i in range(40)],
            REFUSED,
            "since 2026-01-02, 40 learners answered 1 items, of which 0 have that many",
        ),
        (
            [attempt(f"s{i}", f"i{j}", at("2026-01-05"), True) for i in range(40) for j in range(6)],
            REFUSED,
            "none of the 6 items has both right and wrong answers; there is nothing to estimate",
        ),
    ],
    ids=["empty log", "as_of before the first answer", "one learner", "one item", "everything right"],
)
def test_logs_that_cannot_be_calibrated_say_why(
    settings: Settings, log: list[dict[str, Any]], exit_code: int, message: str
) -> None:
    """The text is all that a person on call has."""
    if log:
        write_log(settings, log)
    assert run(settings, "mirt_calibrate", DAY) == exit_code
    assert message in error_of(settings)
    assert rows_of(settings, "mirt_fit_meta").empty


def test_a_hundred_thousand_items_with_three_answers_each_are_refused(settings: Settings) -> None:
    """Such logs exist (generated items), and an hour of EM on them would end in nothing."""
    n_items, n_learners = 100_000, 3_000
    item = np.tile(np.arange(n_items), 3)
    log = simulate_log(learners=1, items=1, last_day=DAY).iloc[[0] * len(item)].reset_index(drop=True)
    log["item_id"] = [f"i{j:06}" for j in item]
    log["student_id"] = [f"s{(j * 7 + k * 1000) % n_learners:04}" for k, j in enumerate(item)]
    write_log(settings, log.drop_duplicates(["student_id", "item_id"]))
    assert run(settings, "mirt_calibrate", DAY) == REFUSED
    assert "answered 100,000 items, of which 0 have that many (median 3): collect more answers" in error_of(settings)


def test_statistics_log_is_calibrated_on_its_valid_first_answers(settings: Settings) -> None:
    """A log whose learners repeat items and run out of time, against the same selection by pandas."""
    as_of = date(2015, 12, 6)
    path = DATA / "statistics_practice_attempts.csv.gz"
    load_log(settings, path)
    assert run(settings, "mirt_calibrate", as_of) == 0

    log = pd.read_csv(path, parse_dates=["completed_at"])
    log = log[log["completed_at"] < pd.Timestamp(as_of + timedelta(days=1), tz="UTC")]
    first = log.sort_values("completed_at", kind="stable").drop_duplicates(["student_id", "item_id"])
    first = first[first["completed_at"] >= pd.Timestamp(as_of - timedelta(days=29), tz="UTC")]
    timed_out = first["timed_out"] == 1
    medians = first[~timed_out].groupby("item_id")["response_time_ms"].median()
    rapid = ~timed_out & (first["response_time_ms"] < 0.1 * first["item_id"].map(medians))
    valid = first[~timed_out & ~rapid]
    meta = rows_of(settings, "mirt_fit_meta").iloc[0]
    excluded = {entry["reason"]: entry["count"] for entry in meta["exclusions"]}
    assert (excluded["timed-out answers"], excluded["rapid answers"]) == (timed_out.sum(), rapid.sum())
    assert not meta["window_extended"]
    assert len(rows_of(settings, "mirt_ability")) == valid["student_id"].nunique()

    calibrating = valid[valid.groupby("student_id")["item_id"].transform("size") >= 5]
    assert meta["n_responses"] == len(calibrating)
    fit = calibrate(
        Responses.from_long(calibrating["student_id"], calibrating["item_id"], calibrating["correct"]), priors="weak"
    )
    items = rows_of(settings, "mirt_item_params")
    np.testing.assert_array_equal(items["item_id"], fit.items["item_id"])
    np.testing.assert_allclose(items[["a", "b"]], fit.items[["a", "b"]], atol=1e-9)
    pd.testing.assert_series_equal(
        items.set_index("item_id")["median_time_ms"], medians, check_names=False, check_index_type=False
    )


def test_maths_log_extends_its_window_and_says_so(settings: Settings) -> None:
    """Its last 30 days hold 1,066 items with a median of three answers: most items would have no parameters."""
    load_log(settings, DATA / "middle_school_math_attempts.csv.gz")
    assert run(settings, "mirt_calibrate", date(2005, 5, 16), model="Rasch") == 0
    meta = rows_of(settings, "mirt_fit_meta").iloc[0]
    assert meta["window_extended"]
    assert meta["window_start"] < date(2005, 4, 17)
    assert "of the 1,066 items answered in the 30 days asked for have 30 first attempts" in meta["window_reason"]
    assert (rows_of(settings, "mirt_item_params")["status"] == "provisional").sum() > 100
