"""Links to first published values: their errors, and anchors that moved; `make prove` has the full size."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.prove.anchors import FIRST, Windows, calibrate_logs, linked_where_some_moved

from irt_analytics.irt import Responses, calibrate, estimate_abilities, link
from irt_analytics.irt.anchors import Cohort, Scale, link_anchors

NOTHING = Scale(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)))


def items(n: int, seed: int, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"item_id": range(n), "a": rng.lognormal(0.0, 0.3, n), "b": rng.normal(size=n), "c": 0.0})
    errors = {"se_a": 0.05, "se_b": 0.05, "se_c": np.nan, "cov_ab": 0.0, "cov_ac": np.nan, "cov_bc": np.nan}
    return frame.assign(**errors | columns)


def referred(frame: pd.DataFrame, run: date = FIRST, shared: float = 0.0) -> pd.DataFrame:
    return frame.assign(run=run, shared=shared, shared_of_new=shared)


def test_errors_of_items_alone_are_those_of_the_plain_link() -> None:
    """Nothing shared and nothing in common but the items: the delta method's errors, as the textbooks have them."""
    new = items(20, seed=1)
    reference = new.assign(a=new["a"] / 1.2, b=1.2 * new["b"] + 0.5)
    line = link_anchors(new, NOTHING, referred(reference), {FIRST: NOTHING}).line
    plain = link(new, reference)
    assert pytest.approx((1.2, 0.5), abs=1e-8) == (line.A, line.B)
    assert (line.se_A, line.se_B, line.cov_AB) == pytest.approx((plain.se_A, plain.se_B, plain.cov_AB), rel=1e-6)


def test_the_same_answers_leave_no_error() -> None:
    """Two calibrations of the same answers are one: stating the error of two would hide any shift."""
    log = Windows(later=0, learners=400, items=15, answers_each=10, spread="days").draw(np.random.default_rng(3))
    line = link_anchors(*calibrate_logs(log, log)).line
    assert pytest.approx((1.0, 0.0), abs=1e-6) == (line.A, line.B)
    assert max(line.se_A, line.se_B) < 0.015
    apart = link_anchors(*calibrate_logs(log, log.assign(student=log["student"] + 400).set_axis(log.index + len(log))))
    assert min(apart.line.se_A, apart.line.se_B) > 0.05


def test_errors_hold_where_windows_share_half_of_their_answers() -> None:
    found = Windows(later=15, learners=700, items=30, answers_each=15, spread="days").links(30, seed=2)
    for name in ("A", "B"):
        # 30 replications know an sd to 13 %.
        assert found[f"se_{name}"].mean() == pytest.approx(found[name].std(), rel=0.35)


def test_six_of_twenty_anchors_that_moved_are_found() -> None:
    """They would carry the scale along by 0.15; a search that starts from them would drop the sound ones."""
    found = linked_where_some_moved(6, 7, anchors=20, moved=6, by=0.5, learners=3_000, answers_each=20)
    assert found["found"].tolist() == [6] * 6
    assert found["alarms"].sum() <= 1
    assert (found["B"].abs() < 3 * found["se_B"]).all()
    assert (found["plain_B"] < -0.08).all()


def test_one_anchor_far_off_is_dropped_with_its_reason() -> None:
    new = items(10, seed=4)
    reference = new.assign(b=new["b"] + 1.5 * (new["item_id"] == 3))
    found = link_anchors(new, NOTHING, referred(reference), {FIRST: NOTHING})
    assert found.drift["item_id"][found.drift["drifted"]].tolist() == [3]
    assert found.line.dropped[3].startswith("drifted: statistic ")
    assert pytest.approx((1.0, 0.0), abs=1e-8) == (found.line.A, found.line.B)
    assert found.line.n_anchors_used == 9


def test_where_half_moved_nobody_can_say_which_half() -> None:
    """Half of the anchors stay at least: a scale that rests on the two that agree by chance is none."""
    new = items(12, seed=5)
    reference = new.assign(b=new["b"] + np.arange(12) * 0.5)
    found = link_anchors(new, NOTHING, referred(reference), {FIRST: NOTHING})
    assert found.line.n_anchors_used >= 6


def test_errors_of_strata_are_those_of_one_population_where_strata_mean_nothing() -> None:
    """Groups by lot tell nothing of theta: the scale is then as uncertain as without them, and no more."""
    rng = np.random.default_rng(3)
    theta, a, b = rng.normal(0.0, 1.0, 3_000), rng.lognormal(0.0, 0.3, 30), rng.normal(0.0, 1.0, 30)
    student, item = (index.ravel() for index in np.indices((3_000, 30)))
    correct = rng.random(len(item)) < 1 / (1 + np.exp(-a[item] * (theta[student] - b[item])))
    responses = Responses.from_long(student, item, correct)
    one = calibrate(responses)
    alone = Cohort.of(estimate_abilities(responses, one.items), 0.0, 1.0)
    groups = pd.DataFrame({"group": ["all"], "n_persons": [3_000], "mean": [0.0], "sd": [1.0]})
    everybody = pd.Series("all", index=responses.student_ids)
    same = Cohort.of_groups(estimate_abilities(responses, one.items), everybody, groups)
    np.testing.assert_allclose(same.moments, alone.moments, rtol=1e-12)
    np.testing.assert_allclose(same.influence, alone.influence, rtol=1e-9)

    lot = pd.Series(rng.choice(["a", "b", "c"], 3_000), index=responses.student_ids)
    fit = calibrate(responses, group=lot).standardised()
    by_group = fit.groups.set_index("group")
    prior = (lot.map(by_group["mean"]), lot.map(by_group["sd"]))
    cohort = Cohort.of_groups(estimate_abilities(responses, fit.items, prior=prior), lot, fit.groups)
    np.testing.assert_allclose(np.diag(cohort.moments), np.diag(alone.moments), rtol=0.05)
    np.testing.assert_allclose(fit.items[["se_a", "se_b"]], one.items[["se_a", "se_b"]], rtol=0.05)
    squares = cohort.influence.to_numpy().T @ cohort.influence.to_numpy()
    np.testing.assert_allclose(squares, cohort.moments, rtol=1e-6, atol=1e-12)
