"""Two months of a platform that routes by what learners showed, calibrated with strata of that and without."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.anchors import Scale, line_of_moments, with_covariances
from irt_analytics.jobs._strata import stratify
from irt_analytics.jobs.mirt_calibrate import References, _estimate_cohort, calibrate_natively, link_to_published
from irt_analytics.params import RunParams

FIRST = date(2026, 1, 1)
LEARNERS, ITEMS, EACH, FAN = 1_500, 60, 15, 24
PARAMS = RunParams(min_answers_item=50)


def measure(seed: int, *, groups: bool, known_sd: float = 0.0) -> dict[str, Any]:
    """What the second month's linked calibration makes of the items.

    In the first month learners get 15 of 60 items at random; in the second 15 new ones of the 24 nearest to their
    ability as it was then; or, with `known_sd`, as a platform sees it that knows theta up to an error of that sd.
    """
    rng = np.random.default_rng(seed)
    b, a = np.sort(rng.normal(0.0, 1.0, ITEMS)), np.exp(rng.normal(0.0, 0.25, ITEMS))
    theta, order = rng.normal(0.0, 1.0, LEARNERS), rng.random((LEARNERS, ITEMS)).argsort(axis=1)

    def answer(items: list[Any]) -> Responses:
        student, item = np.repeat(np.arange(LEARNERS), [len(own) for own in items]), np.concatenate(items)
        correct = rng.random(len(item)) < 1 / (1 + np.exp(-a[item] * (theta[student] - b[item])))
        return Responses.from_long(student, item, correct)

    first = answer(list(order[:, :EACH]))
    reference = calibrate_natively(first, PARAMS, unit=1.0)
    shown = estimate_abilities(first, reference.items)
    known = theta + rng.normal(0.0, known_sd, LEARNERS) if known_sd else shown["theta"].to_numpy()
    low = (known.argsort().argsort() / LEARNERS * (ITEMS - FAN)).round().astype(int)
    near = [np.setdiff1d(np.arange(low[k], low[k] + FAN), order[k, :EACH]) for k in range(LEARNERS)]
    second = answer([rng.permutation(own)[:EACH] for own in near])

    earlier = shown.rename(columns={"student_id": "user_id"}).assign(as_of=FIRST)
    strata = stratify(second, earlier, 0.0, 1.0)[0] if groups else None
    fit = calibrate_natively(second, PARAMS, unit=1.0, strata=strata)
    _, cohort = _estimate_cohort(second, fit, fit.groups, strata)
    of_first = _estimate_cohort(first, reference, reference.groups, None)[1]
    items = with_covariances(reference.items, reference.error_blocks)
    with_new = cohort.covariance_with(shown, 0.0, 1.0, of_first.moments, line_of_moments(0.0, 1.0))
    scale = replace(Scale.of(items, of_first.line, in_items=True), with_new=with_new)
    anchors = items.assign(run=FIRST, topic_id="t", shared=0.0, shared_of_new=0.0, status="estimated")
    linked = link_to_published(fit, cohort, References(anchors, {FIRST: scale}), pd.Series([], dtype=str), PARAMS)
    assert linked.link is not None
    found = linked.items
    own = found["item_id"].to_numpy(dtype=int)
    return {
        "slope": np.polyfit(b[own], found["b"], 1)[0],
        "rmse_b": float(np.sqrt(((found["b"] - b[own]) ** 2).mean())),
        "a": float((found["a"] / a[own]).mean()),
        "A": linked.link.A,
        "B": linked.link.B,
        "se_A": linked.link.se_A,
        "se_B": linked.link.se_B,
        "drifted": int(linked.drift["drifted"].sum()),
    }
