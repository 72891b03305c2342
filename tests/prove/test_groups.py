"""Strata of earlier ability in the daily job's own steps, at full size."""

from typing import Any

import pandas as pd
import pytest
from tests.prove.groups import measure

pytestmark = pytest.mark.prove


def test_strata_take_out_what_the_routing_knew(capsys: pytest.CaptureFixture[str]) -> None:
    """Else difficulties of routed items shrink month by month, and everybody's theta with them."""
    kinds: dict[str, dict[str, Any]] = {
        "routed by earlier answers, strata": {"groups": True},
        "routed by earlier answers, one population": {"groups": False},
        "routed by more than these, strata": {"groups": True, "known_sd": 0.4},
        "routed by more than these, one population": {"groups": False, "known_sd": 0.4},
    }
    found = {name: pd.DataFrame([measure(seed, **kind) for seed in range(50)]) for name, kind in kinds.items()}
    table = pd.DataFrame({name: rows.mean() for name, rows in found.items()}).T
    table[["sd of A", "sd of B"]] = [[rows["A"].std(), rows["B"].std()] for rows in found.values()]
    with capsys.disabled():
        print("\n", table.round(3).to_string())  # noqa: T201
    strata, one, more, more_one = (table.iloc[row] for row in range(4))
    assert one["slope"] < 0.5 < 0.85 < strata["slope"] < 1.05
    assert strata["rmse_b"] < 0.5 * one["rmse_b"]
    assert more["rmse_b"] < 0.7 * more_one["rmse_b"], "also where a part of the bias stays"
    # Errors are not understated; an sd from 50 replications is known within a fifth.
    assert strata["se_A"] > 0.8 * strata["sd of A"]
    assert strata["se_B"] > 0.8 * strata["sd of B"]
    assert strata["drifted"] < 0.2
