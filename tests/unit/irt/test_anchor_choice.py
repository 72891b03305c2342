"""Anchors that nobody tagged: a scale that rests on a leaked or misread item moves with it."""

from datetime import date
from typing import Any

import pandas as pd
import pytest

from irt_analytics.irt.anchor_choice import AnchorChoice, choose_anchors
from irt_analytics.jobs.mirt_calibrate import _choose
from irt_analytics.params import RunParams


def common(n: int = 30, **changes: dict[int, Any]) -> pd.DataFrame:
    """Sound items in common, the easiest first, in three topics; `changes` of columns by item."""
    frame = pd.DataFrame({"item_id": [f"i{k:02d}" for k in range(n)], "b": [k / n for k in range(n)]})
    frame["topic_id"] = [f"t{k % 3}" for k in range(n)]
    sound = {"n_responses": 300, "n_responses_reference": 300, "tagged": False}
    frame = frame.assign(**sound, misfits=False, misfit=1.0, drifted=False)
    for column, values in changes.items():
        frame[column] = [values.get(k, value) for k, value in enumerate(frame[column])]
    return frame


def choose(frame: pd.DataFrame) -> AnchorChoice:
    return choose_anchors(frame, least_answers=100, fewest=5, share=0.2)


def test_no_sound_item_is_left_out() -> None:
    """Every anchor less makes the link less exact, and a shorter list is no better one."""
    assert len(choose(common()).anchors) == 30


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("n_responses", 99, "fewer than 100 first attempts in one of the calibrations"),
        ("n_responses_reference", 99, "fewer than 100 first attempts in one of the calibrations"),
        ("misfits", True, "answers leave the model's curve, or hardly depend on ability"),
        ("drifted", True, "drifted in the window"),
    ],
)
def test_what_cannot_carry_the_scale_is_left_out_with_its_reason(column: str, value: object, reason: str) -> None:
    choice = choose(common(30, **{column: {4: value, 11: value}}))
    assert set(common()["item_id"]) - set(choice.anchors) == {"i04", "i11"}
    assert choice.described()["left_out"] == [{"reason": reason, "count": 2, "examples": ["i04", "i11"]}]


def test_where_nearly_every_item_misfits_it_is_the_model_that_does() -> None:
    """A scale on the few that are left, or on those brought back alone, would be looser than with all."""
    misfits = dict.fromkeys(range(5, 200), True)
    assert len(choose(common(200, misfits=misfits)).anchors) == 200
    assert len(choose(common(30, misfits=dict.fromkeys(range(30), True))).anchors) == 30
    assert len(choose(common(200, misfits=dict.fromkeys(range(40, 200), True))).anchors) < 50


def test_tagged_anchors_are_not_judged_and_too_few_of_them_do_not_count() -> None:
    """Whoever tags anchors decides; two tags cannot keep all other items from the link."""
    five = dict.fromkeys(range(5), True)
    assert choose(common(tagged=five, drifted=five)).anchors.tolist() == ["i00", "i01", "i02", "i03", "i04"]
    assert len(choose(common(tagged={0: True, 1: True})).anchors) == 30


def test_hard_items_that_all_misfit_leave_the_best_of_them() -> None:
    """Without any hard anchor the slope of the link hangs on the easy ones alone."""
    misfits = dict.fromkeys(range(20, 30), True)
    choice = choose(common(misfits=misfits, misfit=dict.fromkeys(misfits, 2.0) | {27: 1.6}))
    assert set(choice.anchors) == {f"i{k:02d}" for k in [*range(20), 27]}
    described = choice.described()
    assert described["brought_back"] == {"count": 1, "examples": ["i27"]}
    assert described["by_difficulty"]["hardest third"] == {"anchors": 1, "items": 10}


def test_a_topic_that_drifted_as_a_whole_does_not_come_back() -> None:
    """Its references are of the time before; a topic too small to matter calls no misfitting item back either."""
    frame = common(drifted=dict.fromkeys(range(0, 30, 3), True), topic_id={29: "rare"}, misfits={29: True})
    choice = choose(frame)
    assert choice.described()["by_topic"]["t0"] == {"anchors": 0, "items": 10}
    assert "i29" not in set(choice.anchors)


def test_fewer_than_a_link_needs_take_in_what_there_is() -> None:
    """A thin link with its error stated beats no link: the test of drift still watches it."""
    nearly_all = dict.fromkeys(range(26), True)
    assert choose(common(misfits=nearly_all, drifted=nearly_all)).pool == "in common with 100 first attempts"
    few = choose(common(n_responses=dict.fromkeys(range(27), 40)))
    assert (few.pool, len(few.anchors)) == ("in common", 30)
    documented = choose(common(n_responses_reference=dict.fromkeys(range(30), 0)))
    assert (documented.pool, len(documented.anchors)) == ("with documented parameters", 30)


@pytest.mark.parametrize(
    ("found", "is_anchor"),
    [
        ({"infit": 1.6}, False),
        ({"outfit": 1.6}, False),
        ({"fit_p": 0.01, "rmsd": 0.06}, False),
        ({"fit_p": 0.01, "rmsd": 0.04}, True),
        ({"fit_p": 0.2, "rmsd": 0.06}, True),
        ({"a": 0.3}, False),
        ({"a": 0.3, "se_a": 0.3}, True),
        ({"a": 0.3, "se_a": float("nan")}, True),
        ({"drifted_on": date(2026, 1, 1)}, False),
        ({"infit": 0.6, "outfit": 0.3}, True),
    ],
)
def test_what_the_job_holds_against_an_anchor(found: dict[str, object], is_anchor: bool) -> None:
    """By the report's own rules: an editor sees the same items listed that the scale does not rest on."""
    items = common()[["item_id", "b", "topic_id", "n_responses"]]
    unknown = {"infit": 0.9, "outfit": 0.9, "fit_p": float("nan"), "rmsd": float("nan"), "drifted_on": None}
    reference = items.assign(a=1.0, se_a=0.1, **unknown)
    for name, value in found.items():
        reference[name] = reference[name].astype(object).where(reference.index != 7, value).infer_objects()
    choice = _choose(items, reference, pd.Series([], dtype=str), RunParams())
    assert len(choice.anchors) == 30 - (not is_anchor)
    assert ("i07" in set(choice.anchors)) == is_anchor
