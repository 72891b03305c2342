"""Cohorts whose answers follow the mixed model of growth, with items routed by ability and published difficulties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

#: How near a learner's ability the items met lie, in log-odds, where items are routed.
ROUTING_SD = 0.7


@dataclass(frozen=True)
class Truth:
    """What is planted, in log-odds and weeks; the intercept is that of week 0, the last one.

    Attributes:
        intercept: of the mean learner on the mean item of the mean topic.
        slope: growth of the mean learner a week.
        sd_intercept: between learners.
        sd_slope: between learners, a week.
        correlation: of the two.
        sd_published: between the published difficulties of items.
        sd_topic: between topics, in what the published difficulties leave open.
        sd_item: between items of a topic, in what is left open then.
        hardening: by how much harder the items met in the last week are than those in the first.
    """

    intercept: float = 0.3
    slope: float = 0.03
    sd_intercept: float = 1.0
    sd_slope: float = 0.08
    correlation: float = 0.2
    sd_published: float = 1.0
    sd_topic: float = 0.4
    sd_item: float = 0.3
    hardening: float = 0.0


def simulate(
    truth: Truth,
    rng: np.random.Generator,
    *,
    learners: int,
    weeks: int,
    a_week: int,
    items: int,
    topics: int,
    routing_sd: float = ROUTING_SD,
) -> pd.DataFrame:
    """Answers of a cohort; an item is met with weight exp(-distance^2 / 2 / routing_sd^2), each once.

    The distance is that between the learner's log-odds that week on what is published of the item, and even odds; with
    `hardening` and over the weeks, odds ever further below even.

    Returns:
        learner, topic, item (texts), week (0, -1, ...), correct (0 or 1), offset (log-odds published of the item).
    """
    across = truth.correlation * truth.sd_intercept * truth.sd_slope
    between = [[truth.sd_intercept**2, across], [across, truth.sd_slope**2]]
    deviation = rng.multivariate_normal([0.0, 0.0], between, size=learners)
    topic = np.arange(items) % topics
    topic_effect = rng.normal(0.0, truth.sd_topic, topics)[topic]
    offset = rng.normal(0.0, truth.sd_published, items)
    item_effect = rng.normal(0.0, truth.sd_item, items)
    met = np.zeros((learners, items), dtype=bool)
    rows = []
    for week in range(1 - weeks, 1):
        ability = truth.intercept + deviation[:, 0] + (truth.slope + deviation[:, 1]) * week
        aim = -truth.hardening * (0.5 + week / max(weeks - 1, 1))
        distance = ability[:, None] + offset - aim
        keys = -0.5 * (distance / routing_sd) ** 2 + rng.gumbel(size=met.shape)
        keys[met] = -np.inf
        item = np.argsort(-keys, axis=1)[:, :a_week]
        np.put_along_axis(met, item, values=True, axis=1)
        log_odds = ability[:, None] + topic_effect[item] + offset[item] + item_effect[item]
        right = rng.random(item.shape) < expit(log_odds)
        learner = np.repeat(np.arange(learners), a_week)
        rows.append(pd.DataFrame({"learner": learner, "item": item.ravel(), "week": week, "correct": right.ravel()}))
    frame = pd.concat(rows, ignore_index=True)
    return frame.assign(
        correct=frame["correct"].astype(int),
        offset=offset[frame["item"]],
        topic=[f"t{each:02d}" for each in topic[frame["item"]]],
        item=[f"i{each:04d}" for each in frame["item"]],
        learner=frame["learner"].astype(str),
    )


def body(rows: pd.DataFrame, *without: str) -> dict[str, Any]:
    """Body of a request to /glmm/fit, without the optional columns named."""
    return {str(name): rows[name].tolist() for name in rows if name not in without} | {"answers": [1] * len(rows)}


def estimates(result: dict[str, Any]) -> dict[str, float]:
    """What a fit says of each field of `Truth` that it estimates."""
    fixed = dict(zip(result["fixed"]["term"], result["fixed"]["estimate"], strict=True))
    random = result["random"]
    sds = {(group, term): sd for group, term, sd in zip(random["group"], random["term"], random["sd"], strict=True)}
    return {
        "intercept": fixed["(Intercept)"],
        "slope": fixed["week"],
        "sd_intercept": sds["learner", "(Intercept)"],
        "sd_slope": sds["learner", "week"],
        "sd_topic": sds["topic", "(Intercept)"],
        "sd_item": sds.get(("item", "(Intercept)"), np.nan),
    }
