"""Item fit statistics against R's mirt."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.item_fit import item_fit

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "reference"


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize("dataset", ["lsat6", "lsat7", "sat12"])
def test_infit_and_outfit_are_those_of_mirt(dataset: str, model: str) -> None:
    """Otherwise an item that mirt's users would send to review passes here, or the reverse."""
    matrix = pd.read_csv(REFERENCE / f"{dataset}_responses.csv")
    long = matrix.rename_axis("student").reset_index().melt("student", var_name="item", value_name="correct")
    responses = Responses.from_long(long["student"], long["item"], long["correct"])
    of_fit = {"dataset": dataset, "model": model}

    def published(name: str) -> pd.DataFrame:
        frame = pd.read_csv(REFERENCE / name)
        return frame[(frame[list(of_fit)] == pd.Series(of_fit)).all(axis=1)]

    items, expected = published("mirt_item_params.csv"), published("mirt_item_fit.csv")
    latent = published("mirt_fit.csv").iloc[0]
    prior = (float(latent["latent_mean"]), float(np.sqrt(latent["latent_var"])))
    theta = estimate_abilities(responses, items, method="EAP", prior=prior)["theta"]
    fit = item_fit(responses, items, theta).set_index("item_id").loc[expected["item_id"]]
    np.testing.assert_allclose(fit["infit"], expected["infit"], atol=0.01)
    np.testing.assert_allclose(fit["outfit"], expected["outfit"], atol=0.01)


def test_fit_of_three_answers_by_hand() -> None:
    """P = 1/2, 1/2, 3/4 and x = 1, 0, 0: squares 1/4, 1/4, 9/16 over variances 1/4, 1/4, 3/16."""
    responses = Responses.from_long(["p", "q", "r"], ["i", "i", "i"], [1, 0, 0])
    items = pd.DataFrame({"item_id": ["i", "unanswered"], "a": [1.0, 1.0], "b": [0.0, 0.0]})
    fit = item_fit(responses, items, [0.0, 0.0, np.log(3.0)])
    assert fit["item_id"].tolist() == ["i", "unanswered"]
    assert fit["infit"][0] == pytest.approx((1 / 4 + 1 / 4 + 9 / 16) / (1 / 4 + 1 / 4 + 3 / 16))
    assert fit["outfit"][0] == pytest.approx((1 + 1 + 3) / 3)
    assert fit["n_responses"].tolist() == [3, 0]
    assert fit.loc[1, ["infit", "outfit"]].isna().all()
