"""The engine against R mirt 1.45.1: a psychometrician who changes over must find the numbers they know."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import Calibration, Responses, calibrate, estimate_abilities
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.priors import WEAK_PRIORS, Priors

Answers = Callable[[str], Responses]
Reference = Callable[..., pd.DataFrame]

CLASSIC = ("lsat6", "lsat7", "sat12")
SPARSE = "statistics_practice_first_attempt"
# Those of reference/mirt.R.
LOGIT_NORMAL = Priors(a=(0.0, 0.5), logit_c=(-1.1, 0.5))


@dataclass(frozen=True)
class Compared:
    """Own and reference item parameters, row by row."""

    own: pd.DataFrame
    reference: pd.DataFrame

    @classmethod
    def of(cls, items: pd.DataFrame, reference: pd.DataFrame) -> "Compared":
        own = items.set_index("item_id").reindex(reference["item_id"])
        assert own["a"].notna().all()
        assert len(items) == len(reference)
        return cls(own.reset_index(), reference)

    def assert_parameters(self, tolerance: float, *, max_se_b: float = np.inf) -> None:
        """a, d = -a * b and c of every item, and b of those that are estimated well."""
        for name in ("a", "c"):
            np.testing.assert_allclose(self.own[name], self.reference[name], atol=tolerance, rtol=0)
        np.testing.assert_allclose(
            -self.own["a"] * self.own["b"], -self.reference["a"] * self.reference["b"], atol=tolerance, rtol=0
        )
        certain = (self.own["se_b"] < max_se_b).to_numpy()
        assert certain.any()
        np.testing.assert_allclose(self.own["b"][certain], self.reference["b"][certain], atol=tolerance, rtol=0)


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize(("dataset", "tolerance"), [*((name, 0.003) for name in CLASSIC), (SPARSE, 0.01)])
def test_item_parameters(answers: Answers, reference: Reference, dataset: str, model: Model, tolerance: float) -> None:
    fit = calibrate(answers(dataset), model=model)
    expected = reference("mirt_fit.csv", dataset=dataset, model=model).iloc[0].to_dict()
    assert fit.converged
    Compared.of(fit.items, reference("mirt_item_params.csv", dataset=dataset, model=model)).assert_parameters(
        tolerance, max_se_b=0.5
    )
    assert fit.log_likelihood == pytest.approx(expected["loglik"], abs=0.01)
    assert fit.aic == pytest.approx(expected["aic"], abs=0.02)
    assert fit.bic == pytest.approx(expected["bic"], abs=0.02)
    assert fit.latent_mean == 0.0
    assert fit.latent_sd**2 == pytest.approx(expected["latent_var"], abs=tolerance)
    sizes = fit.n_persons, fit.n_items, fit.n_responses
    assert sizes == (expected["n_persons"], expected["n_items"], expected["n_responses"])


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
@pytest.mark.parametrize("dataset", CLASSIC)
def test_standard_errors_are_those_of_the_full_information(
    answers: Answers, reference: Reference, dataset: str, model: Model
) -> None:
    """Errors of the items one by one would be 2 to 13 % too small here, and drift and links would be overtrusted."""
    fit = calibrate(answers(dataset), model=model, tolerance=1e-7)
    assert fit.se_method == "full"
    compared = Compared.of(fit.items, reference("mirt_item_se_oakes.csv", dataset=dataset, model=model).assign(c=0.0))
    np.testing.assert_allclose(compared.own["se_b"], compared.reference["se_b"], rtol=1e-3)
    if model == "2PL":
        np.testing.assert_allclose(compared.own["se_a"], compared.reference["se_a"], rtol=1e-3)
    else:
        assert compared.own["se_a"].isna().all()


@pytest.mark.parametrize("dataset", CLASSIC)
def test_three_parameter_model_with_priors(answers: Answers, reference: Reference, dataset: str) -> None:
    fit = calibrate(answers(dataset), model="3PL", priors=LOGIT_NORMAL, tolerance=1e-6)
    case = f"3PL {dataset}"
    compared = Compared.of(fit.items, reference("mirt_items.csv", case=case))
    compared.assert_parameters(0.003, max_se_b=0.5)
    expected = reference("mirt_fits.csv", case=case)["log_likelihood"][0]
    assert fit.log_likelihood == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("dataset", "apart"),
    [
        ("lsat6", (0.027, 0.058, 0.020)),
        ("lsat7", (0.042, 0.086, 0.028)),
        ("sat12", (0.330, 0.424, 0.124)),
        (SPARSE, (0.456, 1.992, 0.080)),
    ],
)
def test_three_parameter_model_with_beta_prior_beats_the_point_where_mirt_stops(
    answers: Answers, reference: Reference, dataset: str, apart: tuple[float, float, float]
) -> None:
    """Under a beta prior mirt's default optimizer stops off the maximum, for it takes the gradient with respect to c
    where it moves the logit of c. The posterior density decides which estimate is right. `apart`, the largest
    differences of a, b and c, is what docs/models.md states.
    """
    responses = answers(dataset)
    fit = calibrate(responses, model="3PL", priors="weak", weak_unit=1.0, tolerance=1e-6)
    published = reference("mirt_item_params.csv", dataset=dataset, model="3PL").set_index("item_id")
    published = published.loc[fit.items["item_id"]].reset_index()
    names = ["a", "b", "c"]
    np.testing.assert_allclose((fit.items[names] - published[names]).abs().max(), apart, atol=0.002)
    frame = responses.to_frame()
    frame = frame[frame["item_id"].isin(fit.items["item_id"])]
    responses = Responses.from_long(frame["student_id"], frame["item_id"], frame["correct"])
    assert _posterior_density(responses, fit.items) > _posterior_density(responses, published) + 0.01
    # The maximum is one: moving any parameter of any item a little either way lowers the density.
    best = _posterior_density(responses, fit.items)
    for name, step in (("a", 0.02), ("b", 0.05), ("c", 0.01)):
        for item in range(min(5, len(fit.items))):
            for sign in (-1.0, 1.0):
                values = fit.items[name].to_numpy(copy=True)
                values[item] += sign * step
                assert _posterior_density(responses, fit.items.assign(**{name: values})) < best


@pytest.mark.parametrize("weak_unit", [1.0, None], ids=["unit given", "unit estimated"])
def test_standard_errors_of_the_three_parameter_model(answers: Answers, weak_unit: float | None) -> None:
    """They are those of the log-posterior's second derivatives, taken here by differences."""
    responses = answers("lsat7")
    items = calibrate(responses, model="3PL", priors="weak", weak_unit=weak_unit, tolerance=1e-8).items
    names = ("a", "b", "c")
    best = items[list(names)].to_numpy()
    step = np.array([1e-3, 1e-3, 3e-4])

    def density(*moves: tuple[int, float]) -> float:
        moved = best.ravel().copy()
        for at, by in moves:
            moved[at] += by * step[at % 3]
        frame = items.assign(**dict(zip(names, moved.reshape(-1, 3).T, strict=True)))
        return _posterior_density(responses, frame, weak_unit)

    n = best.size
    second = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            corners = [sign * density((i, s), (j, t)) for s in (-1, 1) for t in (-1, 1) for sign in (s * t,)]
            second[i, j] = second[j, i] = sum(corners) / (4.0 * step[i % 3] * step[j % 3])
    expected = np.sqrt(np.diag(np.linalg.inv(-second))).reshape(-1, 3)
    np.testing.assert_allclose(items[["se_a", "se_b", "se_c"]], expected, rtol=1e-3)


def _log_density(items: pd.DataFrame, weak_unit: float | None = 1.0) -> float:
    """Log of the weak priors of all items, up to a constant; at the unit that makes it greatest where none is given."""
    assert WEAK_PRIORS.a is not None
    assert WEAK_PRIORS.c is not None
    mean, sd = WEAK_PRIORS.a
    alpha, beta = WEAK_PRIORS.c
    log_a = np.log(items["a"]) - (np.log(items["a"]).mean() + sd**2 if weak_unit is None else np.log(weak_unit))
    of_a = -log_a - 0.5 * ((log_a - mean) / sd) ** 2
    of_c = (alpha - 1) * np.log(items["c"]) + (beta - 1) * np.log1p(-items["c"])
    return float((of_a + of_c).sum())


def _posterior_density(responses: Responses, items: pd.DataFrame, weak_unit: float | None = 1.0) -> float:
    """Marginal log-likelihood by brute force, and the log of the priors."""
    theta = np.linspace(-6.0, 6.0, 61)
    weight = np.exp(-0.5 * theta**2)
    a, b, c = (items[name].to_numpy()[:, None] for name in ("a", "b", "c"))
    p = c + (1.0 - c) / (1.0 + np.exp(-a * (theta - b)))
    learner, item = np.repeat(np.arange(responses.n_students), np.diff(responses.indptr)), responses.answers >> 1
    answered, right = np.zeros((2, responses.n_students, len(items)))
    answered[learner, item], right[learner, item] = 1.0, responses.answers & 1
    likelihood = np.exp(right @ np.log(p) + (answered - right) @ np.log1p(-p))
    return float(np.log(likelihood @ weight / weight.sum()).sum()) + _log_density(items, weak_unit)


@pytest.mark.parametrize("model", ["2PL", "3PL", "Rasch"])
@pytest.mark.parametrize("dataset", [*CLASSIC, SPARSE])
def test_log_likelihood_at_given_parameters(answers: Answers, reference: Reference, dataset: str, model: Model) -> None:
    """Model choice by AIC and the publishing gate rest on it."""
    expected = reference("mirt_fit.csv", dataset=dataset, model=model).iloc[0].to_dict()
    published = reference("mirt_item_params.csv", dataset=dataset, model=model)
    latent = expected["latent_mean"], float(np.sqrt(expected["latent_var"]))
    fit = calibrate(answers(dataset), model=model, fixed=published, latent=latent)
    assert fit.log_likelihood == pytest.approx(expected["loglik"], abs=0.01)
    assert fit.n_parameters == 0


@pytest.mark.parametrize("model", ["2PL", "3PL", "Rasch"])
@pytest.mark.parametrize("dataset", [*CLASSIC, SPARSE])
def test_expected_a_posteriori(answers: Answers, reference: Reference, dataset: str, model: Model) -> None:
    expected = reference("mirt_eap_first100.csv", dataset=dataset, model=model)
    latent = reference("mirt_fit.csv", dataset=dataset, model=model).iloc[0].to_dict()
    if model == "3PL":  # estimates differ (see above), so abilities are compared at mirt's own
        items = reference("mirt_item_params.csv", dataset=dataset, model=model)
        prior = latent["latent_mean"], float(np.sqrt(latent["latent_var"]))
    else:
        items, prior = calibrate(answers(dataset), model=model).items, None
    own = estimate_abilities(answers(dataset), items, method="EAP", prior=prior).head(100)
    np.testing.assert_allclose(own["theta"], expected["theta"], atol=0.002)
    np.testing.assert_allclose(own["se"], expected["se"], atol=0.002)


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_maximum_a_posteriori(answers: Answers, reference: Reference, model: Model) -> None:
    expected = reference("mirt_abilities.csv", model=model, method="MAP")
    fit = calibrate(answers("sat12"), model=model)
    own = estimate_abilities(answers("sat12"), fit.items, method="MAP").head(100)
    np.testing.assert_allclose(own["theta"], expected["theta"], atol=0.002)
    np.testing.assert_allclose(own["se"], expected["se"], atol=0.002)


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_weighted_likelihood(answers: Answers, reference: Reference, model: Model) -> None:
    """Growth is a difference of two of them. The first examinee has every answer right."""
    expected = reference("mirt_abilities.csv", model=model, method="WLE")
    fit = calibrate(answers("sat12"), model=model, tolerance=1e-6)
    own = estimate_abilities(answers("sat12"), fit.items, method="WLE").head(100)
    np.testing.assert_allclose(own["theta"], expected["theta"], atol=0.002)


@pytest.fixture(scope="module")
def score_group(answers: Answers) -> pd.Series:
    """Group of every examinee of SAT12 by the score on the first eight items, as in reference/mirt.R."""
    frame = answers("sat12").to_frame()
    easy = frame[frame["item_id"].isin([f"Item.{number}" for number in range(1, 9)])]
    return easy.groupby("student_id")["correct"].sum().ge(5).map({True: "high", False: "low"})


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_groups_with_free_means_and_variances(
    answers: Answers, reference: Reference, score_group: pd.Series, model: Model
) -> None:
    """Learners routed to items by ability bias every item that is calibrated over one population."""
    fit = calibrate(answers("sat12"), model=model, group=score_group, tolerance=1e-6)
    case = f"groups {model}"
    compared = Compared.of(fit.items, reference("mirt_items.csv", case=case))
    compared.assert_parameters(0.003, max_se_b=0.5)
    np.testing.assert_allclose(compared.own["se_b"], compared.reference["se_b"], rtol=0.01)
    expected = reference("mirt_fits.csv", case=case)
    assert fit.groups["group"].tolist() == expected["group"].tolist()
    np.testing.assert_allclose(fit.groups["mean"], expected["mean"], atol=0.003)
    np.testing.assert_allclose(fit.groups["sd"] ** 2, expected["variance"], atol=0.003)
    assert fit.log_likelihood == pytest.approx(expected["log_likelihood"][0], abs=0.01)


def test_fixed_items_set_the_scale(answers: Answers, reference: Reference, score_group: pd.Series) -> None:
    """New items join a published bank without moving it, also where the new cohort is weaker."""
    case = "fixed 2PL"
    expected, latent = reference("mirt_items.csv", case=case), reference("mirt_fits.csv", case=case).iloc[0].to_dict()
    frame = answers("sat12").to_frame()
    low = frame[frame["student_id"].isin(score_group.index[score_group == "low"])]
    responses = Responses.from_long(low["student_id"], low["item_id"], low["correct"])
    published = expected[expected["se_b"].isna()]
    assert len(published) == 16
    fit: Calibration = calibrate(responses, model="2PL", fixed=published, tolerance=1e-6)
    compared = Compared.of(fit.items, expected)
    # b is compared in units of its error: an item that the weak cohort hardly solves has b = 15.
    difference = (compared.own["b"] - compared.reference["b"]).abs() / compared.reference["se_b"].fillna(1.0)
    assert difference.max() < 0.003
    np.testing.assert_allclose(compared.own["a"], compared.reference["a"], atol=0.003)
    estimated = expected["se_b"].notna().to_numpy()
    np.testing.assert_allclose(compared.own["se_a"][estimated], compared.reference["se_a"][estimated], rtol=0.01)
    np.testing.assert_allclose(compared.own["se_b"][estimated], compared.reference["se_b"][estimated], rtol=0.01)
    for name in ("a", "b", "c"):
        assert (compared.own[name][~estimated] == compared.reference[name][~estimated]).all()
    assert compared.own.loc[~estimated, ["se_a", "se_b", "se_c"]].isna().all(axis=None)
    assert fit.latent_mean == pytest.approx(latent["mean"], abs=0.003)
    assert fit.latent_sd**2 == pytest.approx(latent["variance"], abs=0.003)
    assert fit.log_likelihood == pytest.approx(latent["log_likelihood"], abs=0.01)
