"""Linking constants: without them trends across calibrations compare numbers on different scales."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from irt_analytics.irt.linking import Link, LinkMethod, link

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "reference"
METHODS: tuple[LinkMethod, ...] = ("stocking_lord", "haebara", "mean_sigma", "mean_mean")


def kolen_brennan_form(form: str) -> pd.DataFrame:
    items = pd.read_csv(REFERENCE / "kolen_brennan_36_item_params.csv")
    return items[items["form"] == form].rename(columns={"item": "item_id", "common": "anchor"})


def random_items(n: int, seed: int, *, guessing: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "item_id": [f"item-{i}" for i in range(n)],
            "a": rng.lognormal(0.0, 0.3, n),
            "b": rng.normal(0.0, 1.0, n),
            "c": rng.beta(5, 17, n) if guessing else 0.0,
        }
    )


def on_scale(items: pd.DataFrame, A: float, B: float) -> pd.DataFrame:
    return items.assign(a=items["a"] / A, b=A * items["b"] + B)


def disturbed(items: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Anchors as real calibrations give them: never exactly on one line."""
    rng = np.random.default_rng(seed)
    n = len(items)
    return items.assign(a=items["a"] * rng.lognormal(0.0, 0.15, n), b=items["b"] + rng.normal(0.0, 0.15, n))


def constants(result: Link) -> tuple[float, float]:
    return result.A, result.B


def probability(theta: NDArray[np.float64], items: pd.DataFrame) -> NDArray[np.float64]:
    a, b, c = (items[name].to_numpy(dtype=np.float64) for name in ("a", "b", "c"))
    return np.asarray(c + (1.0 - c) * expit(a * (theta[:, None] - b)))


def published_constants() -> list[tuple[str, LinkMethod, bool, float, float]]:
    table = pd.read_csv(REFERENCE / "linking_constants.csv")
    return [
        (row["dataset"], row["method"], row["criterion"].startswith("symmetric"), row["A"], row["B"])
        for row in table.to_dict("records")
    ]


@pytest.mark.parametrize(("dataset", "method", "symmetric", "A", "B"), published_constants())
def test_equals_published_constants(dataset: str, method: LinkMethod, symmetric: bool, A: float, B: float) -> None:
    """A psychometrician who reruns Kolen and Brennan's example finds the textbook's and equateIRT's numbers."""
    new, reference = kolen_brennan_form("X"), kolen_brennan_form("Y")
    if dataset.endswith("without_item_27"):
        new, reference = (form[form["item_id"] != 27] for form in (new, reference))

    result = link(new, reference, method=method, symmetric=symmetric)

    assert constants(result) == pytest.approx((A, B), abs=2e-5)
    assert result.n_anchors_used == (11 if dataset.endswith("without_item_27") else 12)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("A", "B"), [(1.2, 0.5), (0.6, -1.5), (1.0, 0.0)])
def test_recovers_a_planted_line_exactly(method: LinkMethod, symmetric: bool, A: float, B: float) -> None:
    """Anchors that lie on one line give that line, so that linked parameters are the reference's own."""
    items = random_items(15, seed=1)
    reference = on_scale(items, A, B)

    result = link(items, reference, method=method, symmetric=symmetric)

    assert constants(result) == pytest.approx((A, B), abs=1e-8)
    pd.testing.assert_frame_equal(result.transform_items(items), reference, rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 40),
    A=st.floats(0.5, 2.0),
    B=st.floats(-2.0, 2.0),
    exact=st.booleans(),
)
def test_linking_back_gives_the_inverse_line(
    method: LinkMethod, seed: int, n: int, A: float, B: float, exact: bool
) -> None:
    """The symmetric link does not depend on which calibration is called new; moving there and back changes nothing."""
    new = random_items(n, seed)
    reference = on_scale(new, A, B) if exact else disturbed(on_scale(new, A, B), seed + 1)
    new, reference = (frame.assign(se_a=0.1, se_b=0.1 + 0.02 * abs(frame["b"])) for frame in (new, reference))

    there = link(new, reference, method=method)
    back = link(reference, new, method=method)
    inverse = there.inverse()

    assert constants(back) == pytest.approx(constants(inverse), rel=1e-5, abs=1e-5)
    assert (back.se_A, back.se_B) == pytest.approx((inverse.se_A, inverse.se_B), rel=1e-4)
    pd.testing.assert_frame_equal(inverse.transform_items(there.transform_items(new)), new, rtol=1e-10)


def test_one_directional_criterion_is_not_symmetric() -> None:
    """Whoever asks for symmetric=False gets the one-directional criterion and not a relabelled symmetric one."""
    new, reference = kolen_brennan_form("X"), kolen_brennan_form("Y")
    there, back = (link(*pair, symmetric=False) for pair in ((new, reference), (reference, new)))
    assert abs(there.A * back.A - 1.0) > 1e-3
    assert not there.symmetric


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_errors_of_constants_equal_their_sampling_spread(method: LinkMethod, symmetric: bool) -> None:
    """Delta-method errors are what A and B really vary by when the anchors' estimates vary by their own errors."""
    rng = np.random.default_rng(5)
    n, replications = 25, 200
    reference = random_items(n, seed=2)
    new = disturbed(on_scale(reference, 0.9, 0.2), seed=3)
    spread = {"a": 0.04, "b": 0.06, "c": 0.015}
    errors = {f"se_{name}": se for name, se in spread.items()}

    def drawn(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: frame[name] + rng.normal(0.0, se, n) for name, se in spread.items()})

    result = link(new.assign(**errors), reference.assign(**errors), method, symmetric)
    replicates = np.array(
        [constants(link(drawn(new), drawn(reference), method, symmetric)) for _ in range(replications)]
    )

    # The sd of 200 draws has a relative error of 1 / sqrt(2 * 200) = 5 %, their correlation one of at most 0.07.
    observed = replicates.std(axis=0, ddof=1)
    assert (result.se_A, result.se_B) == pytest.approx(tuple(observed), rel=0.15)
    correlation = result.cov_AB / (result.se_A * result.se_B)
    assert correlation == pytest.approx(np.corrcoef(replicates.T)[0, 1], abs=0.2)


def test_covariance_within_an_item_changes_the_error() -> None:
    """The full covariance is used where given: a and b of one item are correlated, and ignoring it misstates se_B."""
    reference = random_items(12, seed=4, guessing=False)
    new = on_scale(reference, 1.1, -0.3).assign(se_a=0.1, se_b=0.12)
    pairs = pd.MultiIndex.from_product([new["item_id"], ["a", "b"]])
    independent = pd.DataFrame(np.diag(np.tile([0.1**2, 0.12**2], 12)), index=pairs, columns=pairs)
    block = np.array([[0.1**2, 0.8 * 0.1 * 0.12], [0.8 * 0.1 * 0.12, 0.12**2]])
    correlated = pd.DataFrame(np.kron(np.eye(12), block), index=pairs, columns=pairs)

    diagonal = link(new, reference)
    same = link(new, reference, covariance=independent.iloc[::-1, ::-1])
    other = link(new, reference, covariance=correlated)

    assert (same.se_A, same.se_B) == pytest.approx((diagonal.se_A, diagonal.se_B), rel=1e-12)
    assert other.se_B < 0.9 * diagonal.se_B
    assert constants(other) == constants(diagonal)


def test_unknown_errors_are_not_reported_as_zero() -> None:
    """Parameters without standard errors (a published table) give constants whose error is unknown, not zero."""
    result = link(kolen_brennan_form("X"), kolen_brennan_form("Y"))
    assert np.isnan(result.se_A)
    assert np.isnan(result.se_B)
    assert json.loads(json.dumps(result.linking_constants()))["se_A"] is None


def test_errors_of_one_calibration_alone_count() -> None:
    """A published bank without errors is taken as known; the new calibration's errors still reach A and B."""
    new = kolen_brennan_form("X").assign(se_a=0.1, se_b=0.1, se_c=0.02)
    both = kolen_brennan_form("Y").assign(se_a=0.1, se_b=0.1, se_c=0.02)
    assert 0.0 < link(new, kolen_brennan_form("Y")).se_A < link(new, both).se_A


@pytest.mark.parametrize("method", METHODS)
def test_rasch_links_keep_the_slope(method: LinkMethod) -> None:
    """A Rasch bank stays one: a = 1 on both scales leaves A = 1 without error, only the origin is estimated."""
    rng = np.random.default_rng(6)
    new = pd.DataFrame({"item_id": range(20), "a": 1.0, "b": rng.normal(size=20), "se_a": np.nan, "se_b": 0.1})
    reference = new.assign(b=new["b"] + 0.5 + rng.normal(0.0, 0.1, 20))

    result = link(new, reference, method=method)

    assert (result.A, result.se_A) == (1.0, 0.0)
    assert abs(result.B - 0.5) < 4 * result.se_B
    if method in ("mean_mean", "mean_sigma"):
        assert abs(result.B - (reference["b"] - new["b"]).mean()) < 1e-12
        assert result.se_B == pytest.approx(0.1 * np.sqrt(2 / 20), rel=1e-12)
    assert (result.transform_items(new)["a"] == 1.0).all()


@pytest.mark.parametrize("dtype", ["object", "double[pyarrow]", "Float64"])
def test_nulls_of_a_database_mean_what_nan_means(dtype: str) -> None:
    """Published parameters come from SQL with nulls for errors that a model has not; the link is the same."""
    rng = np.random.default_rng(18)
    new = pd.DataFrame({"item_id": range(9), "a": 1.0, "b": rng.normal(size=9), "c": 0.0, "se_a": np.nan, "se_b": 0.1})
    published = new.assign(b=new["b"] + rng.normal(0.4, 0.1, 9))
    from_sql = published.assign(se_a=None).astype(dict.fromkeys(["a", "b", "c", "se_a", "se_b"], dtype))
    assert link(new, from_sql) == link(new, published)


def test_equal_slopes_that_were_estimated_stay_free() -> None:
    """A 2PL whose slopes happen to agree is still a 2PL: its link has an error in A."""
    items = random_items(10, seed=7, guessing=False).assign(a=1.0, se_a=0.1, se_b=0.1)
    result = link(items, items)
    assert constants(result) == pytest.approx((1.0, 0.0), abs=1e-8)
    assert result.se_A > 0.0


def test_given_points_and_weights_are_the_criterion() -> None:
    """Another package's quadrature can be repeated: 40 uniform points given by hand equal the named criterion."""
    new, reference = kolen_brennan_form("X"), kolen_brennan_form("Y")
    by_hand = link(new, reference, symmetric=False, points=np.linspace(-4, 4, 40))
    named = link(new, reference, symmetric=False)
    assert constants(by_hand) == pytest.approx(constants(named), abs=1e-9)


def test_only_items_marked_as_anchors_carry_the_scale() -> None:
    """An item that is common but no anchor must not pull the scale along when it drifts."""
    reference = random_items(12, seed=8).assign(anchor=[True] * 10 + [False] * 2)
    new = on_scale(reference, 1 / 1.3, 0.4).drop(columns="anchor")
    new.loc[10:, "b"] += 3.0

    result = link(new, reference)

    assert result.n_anchors_used == 10
    assert constants(result) == pytest.approx((1.3, -0.52), abs=1e-8)
    assert result.dropped == {}


def test_anchors_are_matched_by_id_and_not_by_row() -> None:
    """Calibrations list their items in their own order; matching by position would scramble every anchor."""
    items = random_items(20, seed=9)
    shuffled = on_scale(items, 1.2, 0.5).sample(frac=1.0, random_state=1)
    result = link(items, shuffled)
    assert constants(result) == pytest.approx((1.2, 0.5), abs=1e-8)


def test_unusable_anchors_are_dropped_with_their_reason() -> None:
    """An anchor without parameters or with a negative slope leaves the link and is named."""
    items = random_items(8, seed=10)
    reference = on_scale(items, 1.2, 0.5)
    items.loc[2, "b"] = np.nan
    reference.loc[5, "a"] = -0.4

    result = link(items, reference)

    assert result.dropped == {
        "item-2": "a parameter is missing in the new calibration",
        "item-5": "discrimination is not positive in the reference calibration",
    }
    assert result.n_anchors_used == 6
    assert result.anchors == ("item-0", "item-1", "item-3", "item-4", "item-6", "item-7")
    assert constants(result) == pytest.approx((1.2, 0.5), abs=1e-8)


def test_too_few_anchors_name_the_counts() -> None:
    """A scale carried by one item is no scale; the user learns how many items were there and why so few served."""
    items = random_items(8, seed=11).assign(anchor=[True] * 3 + [False] * 5)
    reference = on_scale(random_items(8, seed=11), 1.2, 0.5)
    reference.loc[[0, 1], "b"] = np.nan
    with pytest.raises(ValueError, match=r"at least 2 usable anchors, got 1: 8 new and 8 reference.*8 in common, 3 of"):
        link(items, reference)
    with pytest.raises(ValueError, match=r"got 0: 8 new and 8 reference items have 0 in common"):
        link(items.assign(item_id=range(8)), reference)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="b"), "items lacks column b"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "'item-0' appears more than once"),
        (lambda frame: frame.assign(b=0.0), "all 8 have the same b"),
    ],
)
def test_bad_items_are_named(change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    """A frame that cannot be linked is refused in words that say which column or item."""
    items = random_items(8, seed=12)
    with pytest.raises(ValueError, match=message):
        link(change(items), items, method="mean_sigma")


def test_unknown_method_and_mismatched_weights_are_refused() -> None:
    """A misspelt method or quadrature must not fall back on a default criterion."""
    items = random_items(8, seed=13)
    with pytest.raises(ValueError, match=r"method must be one of stocking_lord.*'stocking-lord'"):
        link(items, items, method="stocking-lord")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="equally long"):
        link(items, items, points=[0.0, 1.0], weights=[1.0])
    with pytest.raises(ValueError, match="without points"):
        link(items, items, weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="non-negative"):
        link(items, items, points=[0.0, 1.0], weights=[1.0, -1.0])


def planted() -> Link:
    items = random_items(10, seed=14).assign(se_a=0.1, se_b=0.1)
    return link(items, on_scale(items, 1.2, 0.5))


def test_moving_items_and_abilities_keeps_every_response_probability() -> None:
    """A report on the published scale predicts what the calibration predicted, answer by answer."""
    moved = planted()
    items, theta = random_items(30, seed=15), np.linspace(-3, 3, 13)
    on_reference = moved.transform_items(items)

    np.testing.assert_allclose(
        probability(moved.transform_theta(theta), on_reference), probability(theta, items), rtol=1e-12
    )


def test_errors_and_latent_distribution_move_with_the_scale() -> None:
    """Intervals keep their coverage and the population its place after linking."""
    moved = planted()
    items = random_items(3, seed=16).assign(se_a=0.12, se_b=0.3, topic_id="algebra")
    items.attrs = {"latent_mean": 0.25, "latent_sd": 0.8, "model": "2PL"}

    linked = moved.transform_items(items)
    abilities = moved.transform_abilities(pd.DataFrame({"student_id": ["ann"], "theta": [-1.0], "se": [0.4]}))

    np.testing.assert_allclose(linked["se_a"], 0.1)
    np.testing.assert_allclose(linked["se_b"], 0.36)
    assert linked["topic_id"].tolist() == ["algebra"] * 3
    assert linked.attrs["latent_mean"] == pytest.approx(0.8)
    assert linked.attrs["latent_sd"] == pytest.approx(0.96)
    assert linked.attrs["model"] == "2PL"
    assert items.attrs["latent_mean"] == 0.25
    assert abilities[["theta", "se"]].to_numpy()[0] == pytest.approx([-0.7, 0.48])


def test_error_added_by_the_link_is_that_of_a_times_theta_plus_b() -> None:
    """The uncertainty of the scale itself can be stated at every ability, its covariance of A and B included."""
    moved = planted()
    draws = np.random.default_rng(17).multivariate_normal(
        [moved.A, moved.B], [[moved.se_A**2, moved.cov_AB], [moved.cov_AB, moved.se_B**2]], size=200_000
    )
    for theta in (-2.0, 0.0, 3.0):
        assert moved.theta_error(theta) == pytest.approx((draws @ [theta, 1.0]).std(), rel=0.01)
