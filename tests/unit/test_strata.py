"""Strata of a calibration: who is in which, and when there is to be one population."""

from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import Responses
from irt_analytics.irt.linking import Link
from irt_analytics.jobs._strata import Strata, on_published_scale, stratify

DAY = date(2026, 1, 1)


def learners(n_known: int, n_new: int) -> pd.Index:
    return pd.Index([f"s{i:04}" for i in range(n_known)] + [f"t{i:04}" for i in range(n_new)])


def answers(ids: pd.Index, items: int = 6) -> Responses:
    """Everybody answers every item, right or wrong in turn."""
    n = len(ids)
    return Responses.from_long(np.repeat(ids, items), np.tile(np.arange(items), n), np.arange(n * items) % 2)


def abilities(n: int) -> pd.DataFrame:
    """Earlier theta of the known learners: -2 to 2 in order."""
    return pd.DataFrame({"user_id": learners(n, 0), "theta": np.linspace(-2.0, 2.0, n), "se": 0.3, "as_of": [DAY] * n})


def divide(n_known: int, n_new: int) -> tuple[Strata | None, str]:
    return stratify(answers(learners(n_known, n_new)), abilities(n_known), 0.5, 2.0)


def sizes(strata: Strata | None) -> dict[str, int]:
    assert strata is not None
    return {str(name): int(n) for name, n in strata.label.value_counts().sort_index().items()}


def test_learners_of_like_ability_are_together_and_newcomers_apart() -> None:
    strata, said = divide(500, 120)
    assert said == "5 strata and newcomers"
    assert sizes(strata) == {f"{k} of 5": 100 for k in range(1, 6)} | {"newcomers": 120}
    assert strata is not None
    assert (strata.label[:100] == "1 of 5").all()
    assert (strata.label[400:500] == "5 of 5").all()
    assert (strata.label[500:] == "newcomers").all()
    # The first hundred have mean -1.603 and sd 0.232, about their own theta by 0.3; published are 0.5 and 2.
    assert strata.reference == pytest.approx(((-1.6032 - 0.5) / 2, np.hypot(0.2325, 0.3) / 2), abs=1e-3)


@pytest.mark.parametrize(
    ("n_known", "n_new", "expected"),
    [
        (499, 0, {"1 of 4": 125, "2 of 4": 124, "3 of 4": 125, "4 of 4": 125}),
        (300, 99, {"1 of 3": 100, "2 of 3": 199, "3 of 3": 100}),  # few newcomers: in the middle
        (150, 400, {"1 of 1": 150, "newcomers": 400}),
    ],
)
def test_small_groups_are_merged(n_known: int, n_new: int, expected: dict[str, int]) -> None:
    """A mean and an sd from a handful of learners would add more error than they take away."""
    assert sizes(divide(n_known, n_new)[0]) == expected


@pytest.mark.parametrize(("method", "A", "B"), [("haebara", 2.0, 0.5), ("fixed", 1.0, 0.0)])
def test_groups_are_told_on_the_published_scale(method: Literal["haebara", "fixed"], A: float, B: float) -> None:
    """With fixed anchors theta is there already: A and B are then the learners' own sd and mean."""
    groups = pd.DataFrame({"group": ["1 of 1"], "mean": [0.3], "sd": [0.8], "se_mean": [0.02], "se_sd": [0.01]})
    link = Link(2.0, 0.5, 0.0, 0.0, 0.0, method, True, 9, (), {})
    found = on_published_scale(groups, link).iloc[0]
    assert found[["mean", "sd", "se_mean", "se_sd"]].tolist() == pytest.approx(
        [A * 0.3 + B, A * 0.8, A * 0.02, A * 0.01]
    )


@pytest.mark.parametrize(("n_known", "n_new"), [(99, 5_000), (199, 99), (0, 500)])
def test_too_few_earlier_abilities_mean_one_population(n_known: int, n_new: int) -> None:
    strata, said = divide(n_known, n_new)
    assert strata is None
    assert said


def test_groups_without_items_in_common_are_merged() -> None:
    """Nothing would put them on one scale: means could be anything, and the calibration would not end."""
    ids = learners(300, 100)
    item = np.tile(np.arange(6), 400).reshape(400, 6)
    item[200:300] += 2  # four of six items in common with the others
    item[300:] += 10  # newcomers have items of their own
    responses = Responses.from_long(np.repeat(ids, 6), item.ravel(), np.arange(2400) % 2)
    strata, said = stratify(responses, abilities(300), 0.0, 1.0)
    # In three strata the last shares four items with the others; in two, fifty of the last share all with the first.
    assert said == "2 strata"
    assert sizes(strata) == {"1 of 2": 150, "2 of 2": 250}
    item[:150] += 20  # nothing in common any more, however they are divided
    responses = Responses.from_long(np.repeat(ids[:300], 6), item[:300].ravel(), np.arange(1800) % 2)
    assert stratify(responses, abilities(300), 0.0, 1.0) == (
        None,
        "no two strata share 5 items with 20 answers in each",
    )
