"""Health of an item bank: what it measures, and which items to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from irt_analytics.irt import information as irt_information
from irt_analytics.report.facts import Item

Floats = npt.NDArray[np.float64]

#: Discrimination called very low (Baker, 2001, The Basics of Item Response Theory, 2nd ed., p. 34).
LOW_DISCRIMINATION = 0.35
#: Mean squares that do not help measurement, and that harm it (Linacre, 2002, Rasch Measurement Transactions 16:2).
MISFIT, HARMFUL_MISFIT = 1.5, 2.0
#: Shares of right answers beyond which an item tells little of any learner.
TOO_EASY, TOO_HARD = 0.95, 0.05

#: Distance of the shares of right answers from the curve that is worth a look, where it is no chance (adjusted p).
OFF_CURVE, LEVEL = 0.05, 0.05

#: Reasons to look at an item, the most pressing first.
REASONS = (
    "low_discrimination",
    "harmful_misfit",
    "drifted",
    "off_curve",
    "shifted",
    "misfit",
    "dependent",
    "too_easy",
    "too_hard",
)


@dataclass(frozen=True)
class Review:
    """An item to look at: its reasons, the most pressing first."""

    item: Item
    reasons: tuple[str, ...]


def judged_items(items: Sequence[Item]) -> list[Item]:
    """Return the items that can be judged: provisional estimates are the prior's as much as the data's."""
    return [item for item in items if item.status != "provisional"]


def review_items(items: Sequence[Item]) -> list[Review]:
    """Return the items to look at, by their most pressing reason, then by number of reasons, then by answers."""
    reviews = [Review(item, reasons) for item in judged_items(items) if (reasons := _reasons(item))]
    return sorted(
        reviews,
        key=lambda review: (
            REASONS.index(review.reasons[0]),
            -len(review.reasons),
            -review.item.n_responses,
            review.item.item_id,
        ),
    )


def _reasons(item: Item) -> tuple[str, ...]:
    worst_fit = max(item.infit or 0, item.outfit or 0)
    upper_a = item.a + 1.96 * item.se_a if item.se_a is not None else None
    found = {
        # Rasch has no se_a: every item discriminates alike.
        "low_discrimination": upper_a is not None and item.a < LOW_DISCRIMINATION and upper_a < 2 * LOW_DISCRIMINATION,
        "harmful_misfit": worst_fit > HARMFUL_MISFIT,
        "drifted": item.drifted,
        "off_curve": item.fit_p is not None and item.fit_p < LEVEL and (item.rmsd or 0) >= OFF_CURVE,
        "shifted": item.shifted,
        "dependent": bool(item.depends_on),
        "misfit": MISFIT < worst_fit <= HARMFUL_MISFIT,
        "too_easy": item.p_value is not None and item.p_value > TOO_EASY,
        "too_hard": item.p_value is not None and item.p_value < TOO_HARD,
    }
    return tuple(reason for reason in REASONS if found[reason])


def test_information(items: Sequence[Item], theta: Floats) -> Floats:
    """Return the test information of a bank at each theta: the sum of its items' Fisher informations."""
    a, b, c = (np.array([getattr(item, name) for item in items], dtype=float) for name in "abc")
    return irt_information.test_information(theta, a, b, c)


@dataclass(frozen=True)
class Coverage:
    """Where a bank measures.

    Attributes:
        theta: grid of abilities.
        information: test information on it.
        peak: the ability at which the bank tells most.
        low, high: the abilities between which it tells at least half of that.
        share_outside: share of the learners given who lie outside; None without learners.
    """

    theta: Floats
    information: Floats
    peak: float
    low: float
    high: float
    share_outside: float | None


def coverage(items: Sequence[Item], abilities: Sequence[float]) -> Coverage:
    """Return where a bank of at least one item measures and how many learners lie outside."""
    theta = np.linspace(-4, 4, 161)
    information = test_information(items, theta)
    enough = theta[information >= information.max() / 2]
    low, high = float(enough[0]), float(enough[-1])
    learners = np.asarray(abilities, dtype=float)
    outside = float(np.mean((learners < low) | (learners > high))) if len(learners) else None
    return Coverage(theta, information, float(theta[information.argmax()]), low, high, outside)
