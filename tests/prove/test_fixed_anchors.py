"""Fixed-parameter calibration: new items on the published scale, though another cohort answers."""

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import Responses
from irt_analytics.jobs.mirt_calibrate import calibrate_natively
from irt_analytics.params import RunParams

pytestmark = pytest.mark.prove

REPLICATIONS = 50
LEARNERS, ANCHORS, NEW = 2_000, 30, 10


def test_new_items_are_unbiased_where_the_cohort_is_abler(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an update of the latent distribution new items come out too easy by what learners are better."""
    rows = []
    for seed in range(REPLICATIONS):
        rng = np.random.default_rng(seed)
        a, b = np.exp(rng.normal(0.0, 0.3, ANCHORS + NEW)), rng.normal(0.0, 1.0, ANCHORS + NEW)
        student, item = (index.ravel() for index in np.indices((LEARNERS, ANCHORS + NEW)))
        theta = rng.normal(1.0, 1.0, LEARNERS)
        correct = rng.random(len(item)) < 1 / (1 + np.exp(-a[item] * (theta[student] - b[item])))
        responses = Responses.from_long(student, item, correct)
        anchors = pd.DataFrame({"item_id": np.arange(ANCHORS), "a": a[:ANCHORS], "b": b[:ANCHORS]})
        fit = calibrate_natively(responses, RunParams(priors="none"), unit=1.0, fixed=anchors)
        new = fit.items[fit.items["item_id"] >= ANCHORS]
        assert len(new) == NEW
        error_a, error_b = new["a"] - a[ANCHORS:], new["b"] - b[ANCHORS:]
        covers = {
            f"covers {name}": (error.abs() < 1.96 * new[f"se_{name}"]).mean()
            for name, error in (("a", error_a), ("b", error_b))
        }
        rows.append(
            {"a": error_a.mean(), "b": error_b.mean(), "mean": fit.latent_mean - 1, "sd": fit.latent_sd - 1} | covers
        )
    found = pd.DataFrame(rows)
    table = pd.DataFrame({"mean": found.mean(), "Monte Carlo error": found.std() / REPLICATIONS**0.5})
    with capsys.disabled():
        print("\n", table.round(4).to_string())  # noqa: T201
    for name in ("a", "b", "mean", "sd"):
        assert abs(table["mean"][name]) < 2 * table["Monte Carlo error"][name], name
    assert table["mean"][["covers a", "covers b"]].between(0.92, 0.98).all()
