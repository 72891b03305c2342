"""Answers of overlapping windows: one left out, or from after a window's end, would bend every past week's theta."""

import numpy as np
import pandas as pd
import pytest

from irt_analytics.jobs._evidence import Evidence


@pytest.mark.parametrize("length", [1, 7, 30])
def test_windows_hold_the_days_up_to_their_ends_and_wanted_learners_only(length: int) -> None:
    rng = np.random.default_rng(length)
    n, learners, last_days = 500, 6, np.array([13, 20, 27, 55])
    evidence = Evidence(
        item_ids=pd.Index([f"i{number}" for number in range(n)]),
        topic_ids=pd.Index(["t"]),
        student=np.sort(rng.integers(0, learners, n)),
        item=np.arange(n, dtype=np.int32),
        topic=rng.integers(-1, 1, n),
        day=rng.integers(0, 70, n),
        correct=rng.random(n) < 0.5,
    )
    wanted = rng.random((learners, len(last_days))) < 0.6
    found = evidence.windows(last_days, length, wanted)
    expected = [
        (int(student) * len(last_days) + window, int(item))
        for student, item, day in zip(evidence.student, evidence.item, evidence.day, strict=True)
        for window, last_day in enumerate(last_days)
        if wanted[student, window] and last_day - length < day <= last_day
    ]
    assert list(zip(found.student.tolist(), found.item.tolist(), strict=True)) == expected
    assert expected
    for name in ("topic", "day", "correct"):
        assert (getattr(found, name) == getattr(evidence, name)[found.item]).all()


def test_without_windows_there_is_no_answer() -> None:
    none = np.zeros(0, dtype=np.int64)
    evidence = Evidence(pd.Index(["i"]), pd.Index(["t"]), none, none.astype(np.int32), none, none, none > 0)
    assert len(evidence.windows(none, 30, np.zeros((1, 0), dtype=np.bool_)).student) == 0
