"""The mixed model's input: an answer too many, or a week off, would be read as growth. Needs no R."""

import json
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from tests.integration.kpi_reference import BankItem
from tests.integration.test_compute_daily_kpis import at, publish, write_answers

from irt_analytics import db
from irt_analytics.jobs import fit_glmm
from irt_analytics.params import RunParams
from irt_analytics.runner import JobContext, JobRecord, run_job
from irt_analytics.settings import Settings

DAY = date(2026, 3, 4)
FIRST_DAY = DAY - timedelta(days=7 * 4 - 1)
PARAMS = RunParams(glmm_weeks=4)


def answer(student: str, item: str, day: date, correct: bool = True, **values: Any) -> dict[str, Any]:
    return {
        "student_id": student,
        "item_id": item,
        "topic_id": "topic",
        "correct": correct,
        "completed_at": at(day),
        "response_time_ms": 10_000,
        "timed_out": False,
    } | values


def load(settings: Settings, params: RunParams = PARAMS) -> tuple[pd.DataFrame, JobRecord]:
    with db.connect(settings) as connection:
        record = JobRecord()
        context = JobContext("default", DAY, params, settings, connection, record, None)
        return fit_glmm._load(context, FIRST_DAY).rows, record


def meta(settings: Settings) -> list[dict[str, Any]]:
    with db.connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select to_jsonb(m) from growth_glmm_meta as m order by tenant_id, as_of")
        return [row[0] for row in cursor.fetchall()]


def test_weeks_are_whole_weeks_before_as_of_and_only_first_valid_answers_count(settings: Settings) -> None:
    """Worked out by hand: each row of the log says why it is in the model or not."""
    write_answers(
        settings,
        [
            answer("ann", "i1", DAY),  # week 0
            answer("ann", "i2", DAY - timedelta(6), correct=False),  # week 0, its first day
            answer("ann", "i3", DAY - timedelta(7)),  # week -1
            answer("ann", "i4", FIRST_DAY),  # week -3, the window's first day
            answer("ann", "i5", FIRST_DAY - timedelta(1)),  # before the window
            answer("ann", "i6", FIRST_DAY - timedelta(1)),
            answer("ann", "i6", DAY),  # not a first attempt
            answer("bob", "i1", DAY + timedelta(1)),  # after as_of
            answer("bob", "i2", DAY, timed_out=True),
            answer("bob", "i3", DAY, response_time_ms=900),  # rapid
            answer("bob", "i4", DAY, topic_id=None),
            answer("bob", "unknown", DAY),  # outside the bank
        ],
    )
    publish(settings, {f"i{k}": BankItem(1.0 + k / 10, k / 4, 10_000.0) for k in range(1, 7)}, DAY)
    rows, record = load(settings)
    found = {(row["learner"], row["item"]): (row["week"], row["outcome"]) for row in rows.to_dict("records")}
    assert found == {
        ("ann", "i1"): (0, True),
        ("ann", "i2"): (0, False),
        ("ann", "i3"): (-1, True),
        ("ann", "i4"): (-3, True),
    }
    excluded = {each["reason"]: each["count"] for each in record.exclusions}
    assert excluded == {
        "timed-out answers": 1,
        "rapid answers": 1,
        "answers without a topic": 1,
        "answers to items outside the bank": 1,
    }
    # The latent mean published is 0: a (0 - b).
    expected = {f"i{k}": -(1.0 + k / 10) * k / 4 for k in (1, 2, 3, 4)}
    assert dict(zip(rows["item"], rows["log_odds_at_mean"], strict=True)) == pytest.approx(expected, abs=1e-12)

    rows, _ = load(settings, RunParams(glmm_weeks=4, invalid_answers="wrong"))
    wrong = rows[rows["learner"] == "bob"]
    assert sorted(wrong["item"]) == ["i2", "i3"]
    assert not wrong["outcome"].any()


def test_guessing_is_in_the_offset(settings: Settings) -> None:
    """With c = 0.2 and b = 0 the mean learner is right with probability 0.6, not 0.5."""
    write_answers(settings, [answer("ann", "i1", DAY)])
    publish(settings, {"i1": BankItem(1.3, 0.0, 10_000.0)}, DAY)
    with db.connect(settings) as connection:
        connection.execute("update mirt_item_params set c = 0.2")
        connection.commit()
    rows, _ = load(settings)
    assert rows["log_odds_at_mean"].tolist() == pytest.approx([0.4054651081081644])  # log(0.6 / 0.4)


def run(settings: Settings) -> int:
    return run_job(fit_glmm.JOB, tenant="default", as_of=DAY, params=PARAMS, settings=settings)


def test_too_little_data_is_a_skip_that_names_the_numbers(settings: Settings) -> None:
    """Two learners have no distribution; a fit of them would print standard deviations of nothing."""
    write_answers(settings, [answer(who, f"i{k}", DAY - timedelta(7 * k)) for who in ("ann", "bob") for k in (0, 1)])
    publish(settings, {f"i{k}": BankItem(1.0, 0.0, 10_000.0) for k in (0, 1)}, DAY)
    assert run(settings) == 0
    (row,) = meta(settings)
    assert row["status"] == "skipped"
    for part in ("2 learners with answers in two weeks (needs 50)", "2 weeks", "1 topics", "2 items"):
        assert part in row["reason"]
    assert (row["n_learners"], row["n_answers"], row["n_weeks"]) == (2, 4, 2)
    assert row["fixed"] is None
    assert run(settings) == 0, "again: the same row"
    assert json.dumps(meta(settings)) == json.dumps([row])


def test_without_the_service_the_skip_carries_its_reason(settings: Settings) -> None:
    """Where R cannot be had the report must say so, not show the last run's growth."""
    write_answers(
        settings,
        [
            answer(f"s{s}", f"i{k}", DAY - timedelta(7 * (k % 4)), topic_id=f"t{k % 5}", correct=(s + k) % 3 > 0)
            for s in range(60)
            for k in range(10)
        ],
    )
    publish(settings, {f"i{k}": BankItem(1.0, 0.0, 10_000.0) for k in range(10)}, DAY)
    away = settings.model_copy(update={"r_glmm_unavailable": "no R on this machine"})
    assert run(away) == 0
    (row,) = meta(settings)
    assert row["status"] == "skipped"
    assert "no R on this machine" in row["reason"]
