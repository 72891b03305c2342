"""Differential item functioning: groups of different ability, and items that are harder for one of them."""

import numpy as np
import pandas as pd
import pytest
from tests.prove.item_quality import compare, two_groups

from irt_analytics.irt import Responses, calibrate
from irt_analytics.irt.dif import differential_functioning


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_good_items_pass_though_one_group_is_abler(model: str) -> None:
    """A sd between the groups is no fault of an item; matched by a score of few items it would look like one."""
    found = pd.concat(
        [compare(model, 2000, n_items=150, answers_each=15, impact=1.0, seed=seed).items for seed in range(8)]
    )
    assert len(found) == 1200
    for test in ("p", "p_uniform", "p_nonuniform", "p_both"):
        assert 0.03 <= np.mean(found[test] < 0.05) <= 0.07, test


def test_items_against_a_group_are_found_and_named_by_size() -> None:
    """Six of thirty items 0.6 logits harder for the weaker group: found, measured, and kept out of the match."""
    found = compare("2PL", 1500, n_items=30, answers_each=30, impact=1.0, seed=3, shift=-0.6, n_shifted=6)
    items = found.items.set_index("item_id")
    shifted, others = items.loc[items.index < 6], items.loc[items.index >= 6]
    assert (shifted["p_adjusted"] < 0.05).all()
    assert (shifted["ets"] != "A").sum() >= 5
    assert not shifted["matching"].any()
    assert shifted["effect"].mean() == pytest.approx(-0.6, abs=0.1)
    assert shifted["log_odds"].mean() == pytest.approx(-0.6, abs=0.1)
    assert others["effect"].mean() == pytest.approx(0.0, abs=0.06)
    assert others["matching"].mean() > 0.9
    assert found.groups["mean"].diff().iloc[1] == pytest.approx(-1.0, abs=0.12)  # as drawn, which has its own error


def test_a_steeper_item_is_found_by_the_non_uniform_test_only() -> None:
    """An item that discriminates in one group only favours nobody on average: Mantel-Haenszel is blind to it."""
    rng = np.random.default_rng(8)
    theta, group = rng.normal(size=(4000, 1)), np.repeat(["left", "right"], 2000)
    b = rng.normal(0.0, 1.0, 25)
    eta = 1.2 * (theta - b)
    eta[:, 0] = np.where(group == "left", 0.4, 1.8) * theta[:, 0]
    student, item = np.indices(eta.shape)
    right = rng.random(eta.shape) < 1 / (1 + np.exp(-eta))
    responses = Responses.from_long(student.ravel(), item.ravel(), right.ravel())
    fit = calibrate(responses, group=group, standard_errors=False)
    found = differential_functioning(responses, fit.items, group).items
    assert found["item_id"][0] == 0
    assert found["p_nonuniform"][0] < 1e-6
    assert found["r2_change"][0] > 3 * found["r2_change"][1:].max()
    assert found["p"][0] > 0.01


def test_small_groups_are_not_compared() -> None:
    """Eleven learners of a school say nothing of an item and something of themselves."""
    responses, _ = two_groups("Rasch", 300, n_items=20, answers_each=20, impact=0.0, seed=1)
    group = np.array(["big"] * 300 + ["medium"] * 289 + ["tiny"] * 11)
    items = calibrate(responses, "Rasch", standard_errors=False).items
    found = differential_functioning(responses, items, group)
    assert found.reference == "big"
    assert set(found.items["group"]) == {"medium"}
    assert (found.items["n_focal"] == 289).all()
    assert found.groups.set_index("group")["compared"].to_dict() == {"big": True, "medium": True, "tiny": False}
    with pytest.raises(ValueError, match="1 of 3 groups have 300 learners"):
        differential_functioning(responses, items, group, least_learners=300)
    with pytest.raises(ValueError, match="the reference group 'tiny'"):
        differential_functioning(responses, items, group, reference="tiny")


def test_scores_match_common_forms_only() -> None:
    """The sum score of another form is no measure of ability."""
    responses, group = two_groups("Rasch", 200, n_items=20, answers_each=10, impact=0.0, seed=1)
    items = calibrate(responses, "Rasch", standard_errors=False).items
    with pytest.raises(ValueError, match="match by ability"):
        differential_functioning(responses, items, group, matching="score")
