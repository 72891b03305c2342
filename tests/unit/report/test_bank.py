"""Health of the bank: which items a psychometrician is sent to, and what the bank is said to measure."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from irt_analytics.report.bank import coverage, review_items, test_information
from irt_analytics.report.facts import Item

SOUND = Item(
    item_id="sound",
    topic_id="t",
    a=1.2,
    b=0.3,
    c=0.0,
    se_a=0.1,
    se_b=0.1,
    n_responses=200,
    p_value=0.6,
    infit=1.0,
    outfit=1.0,
    anchor=False,
    drift_statistic=None,
    drift_p_value=None,
    drifted=False,
    status="estimated",
)

information = test_information  # pytest would take the function for a test
del test_information


def test_information_of_a_2pl_item_peaks_at_its_difficulty() -> None:
    """Lord (1980): a^2 / 4 at theta = b. Otherwise the bank is said to measure where it does not."""
    theta = np.array([-1.0, 0.3, 2.0])
    values = information([SOUND], theta)
    assert values[1] == pytest.approx(1.2**2 / 4)
    assert values.argmax() == 1


def test_information_of_a_3pl_item_follows_birnbaum() -> None:
    """Birnbaum (1968), eq. 20.4.21: maximum at b + ln((1 + sqrt(1 + 8c)) / 2) / a."""
    item = replace(SOUND, a=1.7, b=-0.4, c=0.2)
    theta = np.linspace(-4, 4, 80_001)
    values = information([item], theta)
    assert theta[values.argmax()] == pytest.approx(-0.4 + math.log((1 + math.sqrt(2.6)) / 2) / 1.7, abs=2e-4)


def test_information_is_the_squared_slope_over_the_variance() -> None:
    """The definition P'^2 / (P Q), by a numerical derivative, summed over items."""
    items = [SOUND, replace(SOUND, a=0.6, b=1.5, c=0.25), replace(SOUND, a=2.1, b=-1.0, c=0.1)]
    theta, step = np.linspace(-3, 3, 13), 1e-6

    def p(
        item: Item, at: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    ) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return item.c + (1 - item.c) / (1 + np.exp(-item.a * (at - item.b)))

    expected = sum(
        ((p(item, theta + step) - p(item, theta - step)) / (2 * step)) ** 2 / (p(item, theta) * (1 - p(item, theta)))
        for item in items
    )
    np.testing.assert_allclose(information(items, theta), expected, rtol=1e-6)


def test_learners_outside_the_strong_range_are_counted() -> None:
    """For one 2PL item half the peak lies where P Q = 1/8, that is at b +- ln(3 + sqrt 8) / a."""
    half = math.log(3 + math.sqrt(8)) / 1.2
    covered = coverage([SOUND], [0.3, 0.3 + half - 0.06, 0.3 - half - 0.06, 4.0])
    assert covered.low == pytest.approx(0.3 - half, abs=0.05)
    assert covered.high == pytest.approx(0.3 + half, abs=0.05)
    assert covered.share_outside == 0.5
    assert coverage([SOUND], []).share_outside is None


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ()),
        ({"a": 0.2, "se_a": 0.1}, ("low_discrimination",)),
        ({"a": 0.2, "se_a": 0.4}, ()),  # its error allows a sound discrimination
        ({"a": 1.0, "se_a": None}, ()),  # Rasch
        ({"outfit": 1.6}, ("misfit",)),
        ({"infit": 2.2, "outfit": 1.6}, ("harmful_misfit",)),
        ({"outfit": None, "infit": None}, ()),
        ({"anchor": True, "drifted": True}, ("drifted",)),
        ({"fit_p": 0.01, "rmsd": 0.08}, ("off_curve",)),
        ({"fit_p": 0.01, "rmsd": 0.02}, ()),  # beyond chance, and too little to matter
        ({"fit_p": 0.2, "rmsd": 0.08}, ()),  # few answers leave any curve
        ({"shift": 0.4, "shifted": True}, ("shifted",)),
        ({"depends_on": ["other"]}, ("dependent",)),
        ({"p_value": 0.97}, ("too_easy",)),
        ({"p_value": 0.02}, ("too_hard",)),
        ({"outfit": 2.5, "p_value": 0.02}, ("harmful_misfit", "too_hard")),
        ({"outfit": 2.5, "status": "provisional"}, ()),
    ],
)
def test_items_are_listed_for_their_reasons(change: dict[str, Any], reasons: tuple[str, ...]) -> None:
    """A bad item would go on being used, or a sound one be read again for nothing."""
    found = review_items([replace(SOUND, **change)])
    assert [review.reasons for review in found] == ([reasons] if reasons else [])


def test_the_most_pressing_item_comes_first() -> None:
    """A psychometrician with ten minutes reads from the top."""
    items = [
        replace(SOUND, item_id="easy", p_value=0.99),
        replace(SOUND, item_id="misfit, few answers", outfit=1.7, n_responses=50),
        replace(SOUND, item_id="misfit", outfit=1.7),
        replace(SOUND, item_id="flat", a=0.1, se_a=0.05),
        replace(SOUND, item_id="moved", anchor=True, drifted=True),
    ]
    assert [review.item.item_id for review in review_items(items)] == [
        "flat",
        "moved",
        "misfit",
        "misfit, few answers",
        "easy",
    ]
