"""Links over other calibrations: where anchors retire, a scale that cannot be carried on ends with them."""

from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt.link_chains import average_links, chain_links
from irt_analytics.irt.linking import LinkMethod, link

HERE = Path(__file__).parent / "reference"
FORMS: dict[Hashable, pd.DataFrame] = {
    str(name): form for name, form in pd.read_csv(HERE / "equate_items.csv").groupby("form")
}
EQUATE_IRT = pd.read_csv(HERE / "equate_links.csv")
LONG, SHORT = ("f1", "f2", "f3", "f4"), ("f1", "f5", "f4")
METHODS: tuple[LinkMethod, ...] = ("mean_mean", "mean_sigma", "haebara", "stocking_lord")


def covariance_of(form: pd.DataFrame) -> pd.DataFrame:
    """As equate.R has it: all b, then all a."""
    index = pd.MultiIndex.from_tuples([(item, name) for name in "ba" for item in form["item_id"]])
    k = np.arange(len(index))
    s = 0.03 + 0.01 * (k % 5)
    return pd.DataFrame(np.outer(s, s) * 0.5 ** np.abs(np.subtract.outer(k, k)), index=index, columns=index)


COVARIANCES: dict[Hashable, pd.DataFrame] = {name: covariance_of(form) for name, form in FORMS.items()}


@pytest.mark.parametrize("method", METHODS)
def test_chains_and_their_average_are_those_of_equate_irt(method: LinkMethod) -> None:
    """A psychometrician who checks a chain with R finds the same constants, and the same errors.

    equateIRT compares curves in one direction, at 30 points of N(0, 1).
    """
    points, weights = np.polynomial.hermite_e.hermegauss(30)
    chains = [
        chain_links(FORMS, path, method, symmetric=False, points=points, weights=weights, covariances=COVARIANCES)
        for path in (LONG, SHORT)
    ]
    lines = pd.DataFrame([asdict(way.line) for way in (*chains, average_links(chains, weighted=False))])
    theirs = EQUATE_IRT[EQUATE_IRT["method"] == method]
    np.testing.assert_allclose(lines[["A", "B"]], theirs[["A", "B"]], atol=2e-5)
    if method != "mean_sigma":  # whose derivatives equateIRT 2.5.1 takes (n - 1) / n too small
        np.testing.assert_allclose(lines[["se_A", "se_B"]], theirs[["seA", "seB"]], rtol=1e-3)


def test_two_calibrations_are_a_plain_link() -> None:
    errors = [form.assign(se_a=0.05, se_b=0.08) for form in (FORMS["f1"], FORMS["f2"])]
    calibrations: dict[Hashable, pd.DataFrame] = {"new": errors[0], "reference": errors[1]}
    chain = chain_links(calibrations, ("new", "reference")).line
    plain = link(errors[0], errors[1])
    assert (chain.A, chain.B, chain.se_A, chain.se_B, chain.cov_AB, chain.n_anchors_used) == pytest.approx(
        (plain.A, plain.B, plain.se_A, plain.se_B, plain.cov_AB, 4)
    )


def test_the_average_back_is_the_inverse_of_the_average() -> None:
    """Whoever goes there and back would else be somewhere else."""
    there, back = (
        average_links(
            [chain_links(FORMS, path[::way], covariances=COVARIANCES) for path in (LONG, SHORT)], weighted=False
        ).line
        for way in (1, -1)
    )
    inverse = there.inverse()
    assert pytest.approx((inverse.A, inverse.B), rel=1e-6) == (back.A, back.B)
    assert (back.se_A, back.se_B) == pytest.approx((inverse.se_A, inverse.se_B), rel=0.02)


def test_weights_make_the_average_as_exact_as_can_be() -> None:
    """A way over a form that few answered weighs little: alike, it would spoil the other."""
    loose: dict[Hashable, pd.DataFrame] = COVARIANCES | {"f5": 16.0 * COVARIANCES["f5"]}
    chains = [chain_links(FORMS, path, covariances=loose) for path in (LONG, SHORT)]
    best, alike = average_links(chains), average_links(chains, weighted=False)
    assert best.weights[0] > 0.6
    assert sum(best.weights) == pytest.approx(1.0)
    lines = [chain.line for chain in chains]
    variances = [line.se_A**2 + line.se_B**2 for line in (best.line, alike.line, *lines)]
    assert variances[0] == min(variances)


def test_a_gap_in_the_chain_is_named() -> None:
    with pytest.raises(ValueError, match=r"from 'f1' to 'f3': a link needs at least 2 usable anchors"):
        chain_links(FORMS, ("f1", "f3", "f4"))
    with pytest.raises(ValueError, match="each once"):
        chain_links(FORMS, ("f1", "f2", "f1"))
    chains = [chain_links(FORMS, path) for path in (LONG, SHORT)]
    with pytest.raises(ValueError, match="ask for weighted=False"):
        average_links(chains)
    with pytest.raises(ValueError, match="the same two calibrations"):
        average_links([chains[0], chain_links(FORMS, SHORT[:2])], weighted=False)
