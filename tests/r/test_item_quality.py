"""Statistics of items and learners against R's mirt itself, on the 2PL and the 3PL."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import Responses, information
from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import item_tests as kernels
from irt_analytics.irt.dif import differential_functioning
from irt_analytics.irt.item_tests import score_fit
from irt_analytics.irt.local_dependence import local_dependence

Table = Callable[[str], pd.DataFrame]
SAT12 = Path(__file__).parents[3] / "shared" / "data" / "reference" / "sat12_responses.csv"


@pytest.fixture(scope="module")
def table(require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Table:
    """What mirt says of SAT12, by file name."""
    if not SAT12.exists():
        pytest.skip(f"reference data is not there: {SAT12}")
    folder = tmp_path_factory.mktemp("mirt")
    script = Path(__file__).with_name("item_quality.R")
    environment = dict(os.environ) | {"R_LIBS": str(require_r("irt")), "OMP_NUM_THREADS": "1"}
    subprocess.run(["Rscript", str(script), str(SAT12), str(folder)], env=environment, check=True)
    return lambda name: pd.read_csv(folder / name)


@pytest.fixture(scope="module")
def responses() -> Responses:
    matrix = pd.read_csv(SAT12)
    long = matrix.rename_axis("student").reset_index().melt("student", var_name="item", value_name="correct")
    return Responses.from_long(long["student"], long["item"], long["correct"])


def items_of(table: Table, model: str) -> pd.DataFrame:
    return table(f"{model}_items.csv").rename(columns={"g": "c"})


@pytest.mark.parametrize("model", ["2PL", "3PL"])
def test_s_x2(table: Table, responses: Responses, model: str) -> None:
    """Who knows mirt finds the same items misfitting here."""
    items = items_of(table, model)
    found = score_fit(responses, items, "3PL" if model == "3PL" else "2PL", (0.0, 1.0))
    np.testing.assert_array_equal(found["df"], items["df.S_X2"])
    np.testing.assert_allclose(found["s_x2"], items["S_X2"], atol=0.01)
    np.testing.assert_allclose(found["p"], items["p.S_X2"], atol=0.01)


@pytest.mark.parametrize("model", ["2PL", "3PL"])
def test_q3(table: Table, responses: Responses, model: str) -> None:
    """The same residual correlations as residuals(type = "Q3")."""
    items, expected = items_of(table, model), table(f"{model}_q3.csv")
    place = pd.Index(expected.columns)
    found = local_dependence(responses, items, table(f"{model}_persons.csv")["theta"], least_q3=-np.inf)
    assert found.n_pairs == 32 * 31 / 2
    first, second = (place.get_indexer(pd.Index(found.pairs[name])) for name in ("item_1", "item_2"))
    np.testing.assert_allclose(found.pairs["q3"], expected.to_numpy()[first, second], atol=1e-3)


@pytest.mark.parametrize("model", ["2PL", "3PL"])
def test_lz(table: Table, responses: Responses, model: str) -> None:
    """Before its correction lz is mirt's Zh at the same theta."""
    parameters = ItemParameters.from_frame(items_of(table, model), responses.item_ids, "items")
    theta = table(f"{model}_persons.csv")["theta"].to_numpy()
    lz, lz_star = np.empty(len(theta)), np.empty(len(theta))
    kernels.log_likelihood_fit(
        0,
        len(theta),
        responses.indptr,
        responses.answers,
        parameters.a,
        parameters.d,
        parameters.c,
        parameters.active,
        theta,
        np.zeros(len(theta)),
        lz,
        lz_star,
    )
    np.testing.assert_allclose(lz, table(f"{model}_persons.csv")["Zh"], atol=1e-3)


@pytest.mark.parametrize("model", ["2PL", "3PL"])
def test_reliability(table: Table, model: str) -> None:
    """Test information, marginal and empirical reliability as testinfo, marginal_rxx and empirical_rxx give them."""
    items, persons = items_of(table, model), table(f"{model}_persons.csv")
    expected = table(f"{model}_reliability.csv").iloc[0]
    a, b, c = (items[name].to_numpy() for name in "abc")
    np.testing.assert_allclose(
        information.test_information([0.0, 2.0], a, b, c), expected[["at_zero", "at_two"]].astype(float), rtol=1e-3
    )
    assert information.marginal_reliability(a, b, c, (0.0, 1.0)) == pytest.approx(expected["marginal"], abs=1e-3)
    assert information.empirical_reliability(persons["theta"], persons["se"]) == pytest.approx(
        expected["empirical"], abs=1e-3
    )


def test_groups(table: Table, responses: Responses) -> None:
    """Mantel-Haenszel and logistic regression as mantelhaen.test and glm have them, matched by sum score."""
    expected = table("groups.csv").set_index("item_id")
    group = np.arange(responses.n_students)
    found = differential_functioning(
        responses, items_of(table, "2PL"), (group + 1) % 2, reference=0, matching="score", purify=False
    ).items.set_index("item_id")
    for name in expected.columns:
        np.testing.assert_allclose(found[name], expected.loc[found.index, name], rtol=1e-4, atol=1e-6, err_msg=name)
