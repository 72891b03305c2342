"""Calibration where the data is small, extreme or odd: what is estimated, what is left out, and what is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from irt_analytics.irt import Calibration, Responses, calibrate, estimate_abilities
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.priors import Priors
from irt_analytics.irt.quadrature import Quadrature

Simulate = Callable[..., tuple[Responses, pd.DataFrame, NDArray[np.float64]]]


def reasons(fit: Calibration) -> dict[str, int]:
    return {exclusion.reason: exclusion.count for exclusion in fit.exclusions}


def with_extreme_items(simulate: Simulate) -> Responses:
    """An ordinary log and three items more: everybody right, everybody wrong, and one of a learner without others."""
    frame = simulate(400, 10, 8, seed=1)[0].to_frame()
    extra = [(s, i, c) for s in range(30) for i, c in ((900, True), (901, False))]
    frame = pd.concat([frame, pd.DataFrame([*extra, (5000, 900, True)], columns=frame.columns)])
    return Responses.from_long(frame["student_id"], frame["item_id"], frame["correct"])


@pytest.mark.parametrize("priors", [None, "weak"])
def test_items_that_everybody_got_right_or_wrong_are_left_out_and_said(simulate: Simulate, priors: Any) -> None:
    """They have no finite difficulty; a large made-up one would reach reports and abilities."""
    fit = calibrate(with_extreme_items(simulate), priors=priors)
    assert fit.items["item_id"].tolist() == list(range(10))
    assert reasons(fit) == {
        "every answer to the item is right": 1,
        "every answer to the item is wrong": 1,
        "the learner answered excluded items only": 1,
    }
    assert [exclusion.ids for exclusion in fit.exclusions] == [(900,), (901,), ()]
    assert (fit.n_persons, fit.n_items, fit.n_responses) == (400, 10, 3200)
    without = calibrate(simulate(400, 10, 8, seed=1)[0], priors=priors)
    pd.testing.assert_frame_equal(fit.items, without.items, rtol=1e-3)
    assert fit.log_likelihood == pytest.approx(without.log_likelihood, abs=1e-4)
    assert fit.bic == pytest.approx(without.bic, abs=1e-3)


def test_a_prior_of_difficulty_estimates_them(simulate: Simulate) -> None:
    fit = calibrate(with_extreme_items(simulate), priors=Priors(a=(0.0, 0.5), d=(0.0, 3.0)))
    extreme = fit.items.set_index("item_id").loc[[900, 901]]
    assert extreme["b"][900] < -2.0
    assert extreme["b"][901] > 2.0
    assert extreme["se_b"].gt(0.5).all()
    assert fit.exclusions == ()


def test_an_item_whose_slope_runs_away_is_left_out_and_said(simulate: Simulate) -> None:
    """Right exactly for the abler half: the likelihood rises with a for ever, and three items take over the scale."""
    responses, _, theta = simulate(600, 12, 12, seed=2)
    frame = responses.to_frame()
    abler = pd.DataFrame({"student_id": np.arange(600), "item_id": 99, "correct": theta > 0.2})
    frame = pd.concat([frame, abler, abler.assign(item_id=98), abler.assign(item_id=97)])
    fit = calibrate(Responses.from_long(frame["student_id"], frame["item_id"], frame["correct"]))
    assert reasons(fit) == {"the item's parameters have no finite estimate": 3}
    assert fit.items["item_id"].tolist() == list(range(12))
    assert fit.converged
    pd.testing.assert_series_equal(fit.items["b"], calibrate(responses).items["b"], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("student", "item", "correct", "message"),
    [
        ([], [], [], "there are no answers to calibrate"),
        (range(50), ["i"] * 50, [0, 1] * 25, "no learner answered more than one of the 1 items"),
        (["s"] * 50, range(50), [0, 1] * 25, "none of the 50 items has both right and wrong answers"),
        (list(range(20)) * 2, ["i"] * 20 + ["j"] * 20, [1] * 40, "none of the 2 items has both right and wrong"),
    ],
    ids=["empty", "one item", "one learner", "everything right"],
)
def test_logs_that_cannot_be_calibrated(student: Any, item: Any, correct: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(Responses.from_long(list(student), list(item), correct))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "4PL"}, "model must be one of Rasch, 2PL, 3PL, got '4PL'"),
        ({"priors": "strong"}, "priors must be None, 'weak' or Priors, got 'strong'"),
        ({"tolerance": 0.0}, "tolerance must be between 0 and 1, got 0"),
        ({"max_iterations": 1}, "max_iterations must be at least 2, got 1"),
        ({"quadrature": 3}, "quadrature needs at least 5 nodes, got 3"),
        ({"latent": (0.0, -1.0)}, "latent must be a finite mean and a positive sd"),
        ({"group": {0: "a"}}, "group has no entry for 299 learners, such as 1"),
        ({"group": ["a", "b"]}, "group has 2 entries for 300 learners"),
        ({"group": [None] * 300}, "group is missing for learner 0"),
        ({"fixed": pd.DataFrame({"item_id": [0], "a": [1.0]})}, "fixed lacks column b"),
        ({"fixed": pd.DataFrame({"item_id": [0], "a": [np.nan], "b": [0.0]})}, "fixed: a of item 0 is nan"),
    ],
)
def test_bad_arguments_are_named(simulate: Simulate, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(simulate(300, 8, 8, seed=3)[0], **arguments)


@pytest.mark.parametrize("values", [{"a": (0.0, 0.0)}, {"d": (np.nan, 1.0)}, {"c": (0.5, 2.0)}])
def test_priors_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"prior of"):
        Priors(**values)


def test_two_priors_of_one_parameter_are_refused() -> None:
    with pytest.raises(ValueError, match="c and logit_c are priors of the same parameter"):
        Priors(c=(5.0, 17.0), logit_c=(-1.1, 0.5))


@pytest.mark.parametrize(("model", "stated"), [("Rasch", "none"), ("2PL", "a ~ lognormal(0, 0.5)")])
def test_only_priors_that_were_used_are_stated(simulate: Simulate, model: Model, stated: str) -> None:
    fit = calibrate(simulate(300, 8, 8, seed=4)[0], model=model, priors="weak", weak_unit=1.0)
    assert str(fit.priors) == stated


@pytest.mark.parametrize("model", ["2PL", "3PL"])
def test_items_with_few_answers_can_have_a_prior_where_the_others_have_none(simulate: Simulate, model: Model) -> None:
    """Thirty answers that one learner spoils give a slope below zero; the bank's other items must not notice."""
    frame = simulate(800, 12, 10, seed=15)[0].to_frame()
    able = frame.groupby("student_id")["correct"].sum().sort_values(kind="stable").index[-30:]
    frame = pd.concat([frame, pd.DataFrame({"student_id": able, "item_id": 99, "correct": np.arange(30) < 28})])
    responses = Responses.from_long(frame["student_id"], frame["item_id"], frame["correct"])

    def items(**arguments: Any) -> pd.DataFrame:
        return calibrate(responses, model=model, tolerance=1e-7, **arguments).items.set_index("item_id")

    without = items()
    assert 99 not in without.index or without["a"][99] < 0.0
    mixed = items(weak_below=100)
    assert mixed["a"][99] > 0.3
    # Given the others, the item has the estimate of the weak priors; given the item, the others have that of none.
    few, others = mixed[mixed.index == 99], mixed[mixed.index != 99]
    given_others = items(priors="weak", latent=(0.0, 1.0), fixed=others.reset_index())
    np.testing.assert_allclose(given_others[["a", "b"]], mixed[["a", "b"]], atol=1e-4)
    if model == "2PL":  # without priors asymptotes of twelve items are all but free
        given_few = items(latent=(0.0, 1.0), fixed=few.reset_index())
        np.testing.assert_allclose(given_few[["a", "b"]], mixed[["a", "b"]], atol=1e-4)
    weak = items(priors="weak", weak_unit=1.0)
    pd.testing.assert_frame_equal(items(weak_below=10_000), weak, check_exact=True)
    pd.testing.assert_frame_equal(items(priors="weak", weak_unit=1.0, weak_below=100), weak, check_exact=True)


def test_a_calibration_says_what_it_is(simulate: Simulate) -> None:
    responses = simulate(500, 20, 10, seed=4)[0]
    fit = calibrate(responses, model="3PL", priors="weak")
    assert list(fit.items) == ["item_id", "a", "b", "c", "se_a", "se_b", "se_c", "n_responses", "p_value"]
    assert fit.items.attrs == {"model": "3PL", "latent_mean": 0.0, "latent_sd": 1.0}
    assert str(fit.priors) == f"a ~ lognormal({np.log(fit.weak_unit):g}, 0.5), c ~ beta(5, 17)"
    assert fit.n_parameters == 60
    by_item = responses.to_frame().groupby("item_id")["correct"]
    np.testing.assert_array_equal(fit.items["n_responses"], by_item.size())
    np.testing.assert_allclose(fit.items["p_value"], by_item.mean())


def test_progress_is_reported_and_never_falls(simulate: Simulate) -> None:
    """A log that stands still for minutes looks dead; an extrapolation may not trade likelihood for speed."""
    seen: list[tuple[int, float, float]] = []
    fit = calibrate(simulate(800, 30, 15, seed=5)[0], progress=lambda *step: seen.append(step), tolerance=1e-7)
    steps, values, changes = (np.array(column) for column in zip(*seen, strict=True))
    assert len(seen) > 3
    assert (np.diff(steps) > 0).all()
    assert steps[-1] == fit.iterations
    assert (np.diff(values) >= -1e-9 * abs(values[-1])).all()
    assert changes[-1] < 1e-7


def test_running_out_of_iterations_is_not_convergence(simulate: Simulate) -> None:
    fit = calibrate(simulate(500, 20, 10, seed=6)[0], max_iterations=4, tolerance=1e-8)
    assert not fit.converged
    assert fit.iterations <= 5


def test_standard_errors_can_be_left_out(simulate: Simulate) -> None:
    fit = calibrate(simulate(300, 10, 10, seed=7)[0], standard_errors=False)
    assert fit.se_method == "none"
    assert fit.items[["se_a", "se_b", "se_c"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="no standard errors"):
        fit.covariance_of([0])


def test_covariance_belongs_to_the_standard_errors(simulate: Simulate) -> None:
    """The error of a link is built from it."""
    fit = calibrate(simulate(500, 12, 12, seed=8)[0])
    whole = fit.covariance
    assert whole.index.tolist() == [(item, name) for item in range(12) for name in ("a", "b")]
    np.testing.assert_allclose(np.sqrt(np.diag(whole)), fit.items[["se_a", "se_b"]].to_numpy().ravel())
    assert (np.linalg.eigvalsh(whole) > 0).all()
    part = fit.covariance_of([7, 2])
    pd.testing.assert_frame_equal(part, whole.loc[part.index, part.index])
    with pytest.raises(KeyError, match="99"):
        fit.covariance_of([99])
    rasch = calibrate(simulate(500, 12, 12, seed=8)[0], model="Rasch", fixed=fit.items.head(2))
    assert rasch.covariance.index.tolist() == [(item, "b") for item in range(2, 12)]


@pytest.mark.slow
def test_more_than_a_thousand_items_have_errors_of_their_own(simulate: Simulate) -> None:
    """Each item by itself, and labelled so; they come close to the full ones where learners answer many items."""
    responses = simulate(1_500, 1_001, 120, seed=9)[0]
    fit = calibrate(responses)
    assert fit.se_method == "block_diagonal"
    covariance = fit.covariance_of([3, 5])
    assert covariance.loc[(3, "a"), (5, "b")] == 0.0
    assert covariance.loc[(3, "a"), (3, "a")] == pytest.approx(fit.items["se_a"][3] ** 2)
    with pytest.raises(ValueError, match="use covariance_of"):
        _ = fit.covariance
    fewer = responses.to_frame().query("item_id != 1000")
    full = calibrate(Responses.from_long(fewer["student_id"], fewer["item_id"], fewer["correct"]))
    assert full.se_method == "full"
    ratio = fit.items["se_b"][:1000] / full.items["se_b"]
    assert ratio.quantile(0.99) < 1.01
    assert ratio.median() == pytest.approx(1.0, abs=0.05)


def test_items_routed_by_ability() -> None:
    """One population for learners who get harder items the abler they are shrinks every difference between items."""
    rng = np.random.default_rng(10)
    n, n_items, each, n_strata = 6_000, 150, 30, 5
    b, a = np.sort(rng.normal(0.0, 1.0, n_items)), rng.lognormal(0.0, 0.2, n_items)
    theta = rng.normal(0.0, 1.0, n)
    earlier = 0.9 * theta + rng.normal(0.0, 0.4, n)
    stratum = np.searchsorted(np.quantile(earlier, np.arange(1, n_strata) / n_strata), earlier)
    item = np.concatenate([25 * s + rng.permutation(50)[:each] for s in stratum])
    student = np.repeat(np.arange(n), each)
    correct = rng.random(len(item)) < 1 / (1 + np.exp(-a[item] * (theta[student] - b[item])))
    responses = Responses.from_long(student, item, correct)

    def recovery(fit: Calibration) -> tuple[float, float]:
        """Slope of estimated on true b and mean ratio of a, both on the scale of the whole population."""
        items = fit.standardised().items
        own = items["item_id"].to_numpy()
        slope = np.polyfit((b[own] - theta.mean()) / theta.std(), items["b"], 1)[0]
        return float(slope), float((items["a"] / (a[own] * theta.std())).mean())

    together = recovery(calibrate(responses))
    assert max(together) < 0.7
    grouped = calibrate(responses, group=stratum)
    assert recovery(grouped) == pytest.approx((1.0, 1.0), abs=0.05)
    reference = grouped.groups.iloc[0].to_dict()
    assert (reference["mean"], reference["sd"]) == (0.0, 1.0)
    assert grouped.groups["se_mean"].isna().tolist() == [True, False, False, False, False]
    assert grouped.groups["n_persons"].tolist() == np.bincount(stratum).tolist()
    assert grouped.quadrature.upper > 6.0, "the abler groups reach beyond the usual grid"


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_the_scale_of_all_learners_is_the_same_whatever_group_set_it_before(simulate: Simulate, model: Model) -> None:
    """Estimates, errors and covariances; else what is published would depend on the order of the groups' names."""
    responses, _, theta = simulate(1_500, 30, 15, seed=21)
    earlier = theta + np.random.default_rng(21).normal(0.0, 0.6, len(theta))
    group = np.digitize(earlier, [-0.7, 0.5])
    own: dict[str, Any] = {"model": model, "tolerance": 1e-7}
    if model == "2PL":
        own |= {"priors": "weak", "weak_unit": "estimated"}
    fits = [calibrate(responses, group=labels, **own).standardised() for labels in (group, (group + 1) % 3)]
    if model == "2PL":
        fits.append(calibrate(responses, group=group, latent=(-1.0, 0.7), **own).standardised())
    first = fits[0]
    assert (first.latent_mean, first.items.attrs["latent_mean"]) == (0.0, 0.0)
    shares = first.groups["n_persons"] / first.groups["n_persons"].sum()
    mixed = (shares * (first.groups["sd"] ** 2 + first.groups["mean"] ** 2)).sum() ** 0.5
    assert (shares * first.groups["mean"]).sum() == pytest.approx(0.0, abs=1e-12)
    assert first.latent_sd == pytest.approx(mixed) == (1.0 if model == "2PL" else pytest.approx(first.latent_sd))
    for other in fits[1:]:
        np.testing.assert_allclose(other.items[["a", "b"]], first.items[["a", "b"]], atol=2e-5)
        np.testing.assert_allclose(other.covariance, first.covariance, atol=1e-3 * first.covariance.to_numpy().max())
        np.testing.assert_allclose(other.error_blocks, first.error_blocks, atol=1e-3 * first.error_blocks.max())
        columns = ["mean", "sd", "se_mean", "se_sd"]
        theirs, ours = (fit.groups.sort_values("mean")[columns] for fit in (other, first))
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=2e-5)
        assert other.weak_unit == pytest.approx(first.weak_unit, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_a_hundred_thousand_items_of_three_answers(model: Model) -> None:
    """The middle-school log looks like this; it must end with a weak but honest bank, not in an overflow."""
    rng = np.random.default_rng(11)
    n_items, n_students = 100_000, 30_000
    rows = pd.DataFrame({"s": rng.integers(0, n_students, 3 * n_items), "i": np.repeat(np.arange(n_items), 3)})
    rows = rows.drop_duplicates()
    theta, b = rng.normal(size=n_students), rng.normal(size=n_items)
    correct = rng.random(len(rows)) < 1 / (1 + np.exp(b[rows["i"]] - theta[rows["s"]]))
    responses = Responses.from_long(rows["s"], rows["i"], correct)
    assert responses.answers.dtype == np.int32
    fit = calibrate(responses, model=model, priors="weak", tolerance=1e-2)
    assert fit.converged
    assert fit.se_method == "block_diagonal"
    left_out = sum(exclusion.count for exclusion in fit.exclusions if exclusion.ids)
    assert len(fit.items) + left_out == n_items
    assert 50_000 < len(fit.items) < 80_000
    assert np.isfinite(fit.items[["a", "b", "se_b"]].to_numpy()).all()
    assert np.corrcoef(fit.items["b"], b[fit.items["item_id"]])[0, 1] > 0.3


def test_quadrature_of_ones_own(simulate: Simulate) -> None:
    responses = simulate(400, 10, 10, seed=12)[0]
    one = calibrate(responses, tolerance=1e-7)
    other = calibrate(responses, quadrature=Quadrature(121, -8.0, 8.0), tolerance=1e-7)
    np.testing.assert_allclose(one.items[["a", "b"]], other.items[["a", "b"]], atol=1e-4)
    with pytest.raises(ValueError, match="from a lower to a higher ability"):
        Quadrature(61, 6.0, -6.0)


def test_fixed_items_without_answers_are_said(simulate: Simulate) -> None:
    fixed = pd.DataFrame({"item_id": [0, 1, 777], "a": [1.0, 1.1, 1.0], "b": [0.1, 0.2, 0.3]})
    fit = calibrate(simulate(300, 8, 8, seed=13)[0], fixed=fixed)
    assert reasons(fit) == {"the fixed item has no answers": 1}
    assert 777 not in fit.items["item_id"].to_numpy()


def test_abilities_recover_and_their_errors_are_right(simulate: Simulate) -> None:
    responses, _, theta = simulate(3_000, 60, 30, seed=14)
    own = estimate_abilities(responses, calibrate(responses).items)
    error = own["theta"] - theta
    assert abs(float((error / own["se"]).std()) - 1.0) < 0.05
    assert abs(float(error.mean())) < 0.05


def test_weak_priors_mean_the_slopes_of_another_scale(simulate: Simulate) -> None:
    """Theta of sd 1.5 under a ~ lognormal(0, 0.5) is theta of sd 1 under a / 1.5 ~ lognormal(0, 0.5)."""
    responses = simulate(400, 10, 8, seed=16)[0]
    wide = calibrate(
        responses, priors="weak", latent=(0.0, 1.5), quadrature=Quadrature(61, -9.0, 9.0), tolerance=1e-8
    ).items
    own = calibrate(responses, priors="weak", weak_unit=1.5, tolerance=1e-8).items
    np.testing.assert_allclose(own["a"], 1.5 * wide["a"], rtol=1e-6)
    np.testing.assert_allclose(own["b"], wide["b"] / 1.5, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="must be a positive number, got 0"):
        calibrate(responses, priors="weak", weak_unit=0.0)


def test_weak_priors_leave_the_unit_of_theta_alone(simulate: Simulate) -> None:
    """With a hundred answers an item, priors around one number shrink all slopes: theta of sd 1 would be 1.06 wide."""
    spreads: dict[float | None, list[float]] = {None: [], 1.0: []}
    covered: list[Any] = []
    for seed in range(20):
        responses, truth, _ = simulate(200, 40, 20, seed=seed)
        for unit, found in spreads.items():
            fit = calibrate(responses, priors="weak", weak_unit=unit)
            theta = estimate_abilities(responses, fit.items)
            found.append(float((theta["theta"] ** 2 + theta["se"] ** 2).mean()))
            if unit is None:
                assert str(fit.priors) == f"a ~ lognormal({np.log(fit.weak_unit):g}, 0.5)"
                own = truth.loc[fit.items["item_id"]].reset_index()
                covered += [np.abs(fit.items[name] - own[name]) < 1.96 * fit.items[f"se_{name}"] for name in ("a", "b")]
    np.testing.assert_allclose(spreads[None], 1.0, atol=0.01)
    assert np.mean(spreads[1.0]) > 1.1, "the priors around 1 do stretch it"
    # 1,600 intervals of 95 %, binomial error 0.005; under a prior those of a are a little wide.
    assert 0.935 < np.mean(covered) < 0.98
