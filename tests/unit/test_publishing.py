"""The publishing gate: each threshold by itself, at numbers worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt.linking import Link
from irt_analytics.jobs._publishing import State, objections
from irt_analytics.params import RunParams

LINK = Link(
    A=1.0,
    B=0.0,
    se_A=0.02,
    se_B=0.02,
    cov_AB=0.0,
    method="stocking_lord",
    symmetric=True,
    n_anchors_used=20,
    anchors=tuple(range(20)),
    dropped={},
)
BANK = pd.DataFrame({"item_id": range(30), "b": np.linspace(-2.0, 2.0, 30), "se_b": 0.1, "status": "estimated"})
BEFORE = State(BANK, 0.0, 1.0, -50_000.0, 100_000, "2PL")


def refused(
    *, link: dict[str, Any] | None = None, now: dict[str, Any] | None = None, n_anchors: int = 20, **params: Any
) -> list[str]:
    """Names of the params that the objections give."""
    found = objections(
        replace(LINK, **link or {}), n_anchors, replace(BEFORE, **now or {}), BEFORE, RunParams(**params)
    )
    names = ("min_anchors", "min_anchor_share", "max_slope_change", "max_scale_shift", "max_item_shift", "max_fit_loss")
    return [next(name for name in names if f"{name} =" in text) for text in found]


def test_the_same_again_is_published() -> None:
    assert refused() == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"link": {"n_anchors_used": 4}}, "min_anchors"),
        ({"link": {"n_anchors_used": 5}, "n_anchors": 26}, "min_anchor_share"),  # 5.2 are a fifth
        ({"now": {"latent_sd": 1.30}}, "max_slope_change"),  # 0.30 - 1.96 * 0.02 = 0.261
        ({"now": {"latent_sd": 0.70}}, "max_slope_change"),
        ({"now": {"latent_mean": -0.55}}, "max_scale_shift"),  # 0.55 - 0.039 = 0.511
        ({"now": {"bank": BANK.assign(b=BANK["b"] + 0.35)}}, "max_item_shift"),  # sqrt(0.35^2 - 0.0954^2) = 0.337
        ({"now": {"log_likelihood": -51_500.0}}, "max_fit_loss"),  # 3 % - 1.96 * 0.45 % = 2.1 %
    ],
)
def test_each_threshold_refuses_and_its_param_lets_pass(change: dict[str, Any], name: str) -> None:
    """A refusal that the param it names does not lift would leave a person on call without a way."""
    assert refused(**change) == [name]
    change[name] = {"min_anchors": 2, "min_anchor_share": 0.01}.get(name, 2.0)
    assert refused(**change) == []


@pytest.mark.parametrize(
    "change",
    [
        {"link": {"n_anchors_used": 5}, "n_anchors": 25},
        {"now": {"latent_sd": 1.28}},  # 0.28 - 0.039 = 0.241
        {"link": {"se_A": 0.0}, "now": {"latent_sd": 1.5}},  # Rasch: the spread is the cohort's own
        {"now": {"latent_mean": 0.53}},
        {"now": {"bank": BANK.assign(b=BANK["b"] + 0.31)}},  # sqrt(0.31^2 - 0.0954^2) = 0.295
        {"now": {"bank": BANK.assign(b=BANK["b"] + 1.0, status="frozen")}},
        {"now": {"log_likelihood": -51_300.0}},
        {"now": {"log_likelihood": -60_000.0, "model": "Rasch"}},
    ],
)
def test_what_the_errors_explain_is_no_reason(change: dict[str, Any]) -> None:
    """A gate that refuses ordinary days is switched off."""
    assert refused(**change) == []


def test_a_bank_of_three_items_needs_no_five_anchors() -> None:
    small = replace(BEFORE, bank=BANK.head(3))
    assert objections(replace(LINK, n_anchors_used=3), 3, small, small, RunParams()) == []
