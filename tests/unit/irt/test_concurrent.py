"""Two forms calibrated at once, a group for each: the other way to one scale, and a check on links."""

from pathlib import Path

import pandas as pd
import pytest

from irt_analytics.irt import Responses, calibrate, link

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "reference"


def kolen_brennan_log() -> pd.DataFrame:
    """Raw answers to both forms: student_id, form, item_id (shared by the 12 common items), correct."""
    items = pd.read_csv(REFERENCE / "kolen_brennan_36_item_params.csv")
    common = set(items.loc[items["common"], "item"])
    logs = []
    for form in "xy":
        wide = pd.read_csv(REFERENCE / f"kolen_brennan_36_form_{form}.csv.gz")
        wide.columns = pd.Index([f"c{k}" if k in common else f"{form}{k}" for k in range(1, 37)])
        log = wide.reset_index(names="student_id").melt("student_id", var_name="item_id", value_name="correct")
        logs.append(log.assign(form=form, student_id=form + log["student_id"].astype(str)))
    return pd.concat(logs)


def test_calibrated_at_once_two_forms_are_on_the_scale_that_a_link_gives() -> None:
    """Kolen and Brennan's forms: mean and sd of X's group are B and A of the link to Y, with smaller errors."""
    log = kolen_brennan_log()
    apart = {
        form: calibrate(Responses.from_long(own["student_id"], own["item_id"], own["correct"]))
        for form, own in log.groupby("form")
    }
    line = link(
        apart["x"].items,
        apart["y"].items,
        covariance=apart["x"].covariance,
        reference_covariance=apart["y"].covariance,
    )
    forms = log.drop_duplicates("student_id").set_index("student_id")["form"]
    groups = forms.map({"y": "1 reference", "x": "2 new"})
    responses = Responses.from_long(log["student_id"], log["item_id"], log["correct"])
    at_once = calibrate(responses, group=groups)

    new = at_once.groups.set_index("group").loc["2 new"]
    assert new["mean"] == pytest.approx(line.B, abs=0.25 * line.se_B)
    assert new["sd"] == pytest.approx(line.A, abs=0.25 * line.se_A)
    assert new["se_mean"] < line.se_B
    assert new["se_sd"] < line.se_A
    linked = line.transform_items(apart["x"].items).merge(at_once.items, on="item_id", suffixes=("", "_at_once"))
    assert len(linked) == 36
    own = linked[linked["item_id"].str.startswith("x")]
    assert ((own["b"] - own["b_at_once"]).abs() < 0.25 * own["se_b_at_once"]).all()
