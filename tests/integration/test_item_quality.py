"""What the calibration job says of its items and learners."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.logs import rows_of, run, simulate_log, write_log

from irt_analytics.jobs._item_quality import late_from
from irt_analytics.settings import Settings

DAY = date(2026, 1, 31)
PARAMS: dict[str, Any] = {"min_answers_item": 50, "irt_window_days": 28}


def odd_log() -> pd.DataFrame:
    """900 learners, 30 items: two items of one text (i000, i001), one that leaked in the second half (i002)."""
    log = simulate_log(learners=900, items=30, last_day=DAY, share=0.8, seed=4)
    rng = np.random.default_rng(9)
    first = log[log["item_id"] == "i000"].set_index("student_id")["correct"]
    copied = (log["item_id"] == "i001") & log["student_id"].isin(first.index) & (rng.random(len(log)) < 0.7)
    log.loc[copied, "correct"] = log.loc[copied, "student_id"].map(first)
    late = log["completed_at"] >= pd.Timestamp(late_from(DAY - timedelta(days=27), DAY), tz="UTC")
    log.loc[(log["item_id"] == "i002") & late & (rng.random(len(log)) < 0.6), "correct"] = True
    return log.astype({"correct": bool})


def test_odd_items_are_named_and_the_others_are_not(settings: Settings) -> None:
    """An editor is sent to the two questions on one text and to the one that leaked, not to thirty others."""
    write_log(settings, odd_log())
    assert run(settings, "mirt_calibrate", DAY, **PARAMS) == 0
    meta = rows_of(settings, "mirt_quality_meta").iloc[0]
    items = rows_of(settings, "mirt_item_fit").set_index("item_id")
    pairs = rows_of(settings, "mirt_item_pair")
    assert len(items) == 30
    assert [set(pair) for pair in pairs[["item_1", "item_2"]].to_numpy()] == [{"i000", "i001"}]
    assert list(items.index[items["shifted"]]) == ["i002"]
    leaked = items[items.index == "i002"]
    assert (leaked["shift"] > 0.5).all()
    assert (leaked["shift_ets"] != "A").all()
    assert meta["n_items_shifted"] == meta["n_pairs_dependent"] == 1
    assert meta["n_items_compared"] == meta["n_items_tested"] == 30
    assert meta["late_from"] == date(2026, 1, 18)
    assert meta["shift_reason"] is None
    assert 0.02 < meta["n_learners_misfitting"] / meta["n_learners_tested"] < 0.09
    # Every learner with answers counts once in each interval sum.
    learners = [sum(point["n"] for point in curve) for curve in items["curve"]]
    assert learners == pytest.approx(list(items["n_responses"]), abs=0.01)


def test_a_window_of_few_learners_is_not_halved(settings: Settings) -> None:
    """The rows say why there is no comparison, and the rest is there."""
    write_log(settings, simulate_log(learners=80, items=10, last_day=DAY, seed=2))
    assert run(settings, "mirt_calibrate", DAY, **PARAMS) == 0
    meta = rows_of(settings, "mirt_quality_meta").iloc[0]
    assert meta["shift_reason"] == "80 and 80 learners in the halves of the window; 100 are needed in each"
    items = rows_of(settings, "mirt_item_fit")
    assert items["shift"].isna().all()
    assert items["p"].notna().all()
