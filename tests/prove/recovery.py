"""Replications of calibration, abilities and linking on answers whose truth is known."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from irt_analytics.irt import Responses, calibrate, estimate_abilities, link

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVEL = 0.95
NORMAL_99 = float(norm.ppf(0.995))
PLANTED_A = 1.2
PLANTED_B = 0.5


@dataclass(frozen=True)
class Design:
    """Two cohorts who answer random items of one bank, calibrated apart; the second lies A, B away from the first.

    Attributes:
        model: "2PL", a ~ lognormal(0, 0.3), or "Rasch"; b ~ N(0, 1). The bank is the same in every replication.
        replications: pairs of cohorts.
        n_students: learners a cohort; theta ~ N(0, 1) in the first and N(0.5, 1.2^2), on the first's scale, in the
            second.
        n_items: items of the bank.
        answers_each: different items that every learner answers.
        seed: of the bank and all answers.
        weak: whether items have the weak priors.
        weak_unit: their unit; None: estimated.
    """

    model: Literal["2PL", "Rasch"]
    replications: int
    n_students: int
    n_items: int
    answers_each: int
    seed: int
    weak: bool = False
    weak_unit: float | None = None


@dataclass(frozen=True)
class Coverage:
    """How many intervals, estimate +- 1.96 se, hold the truth."""

    covered: int
    n: int

    @classmethod
    def of(cls, error: npt.ArrayLike, se: npt.ArrayLike) -> "Coverage":
        """Count from errors (estimate - truth) and standard errors of one shape; neither may be missing."""
        error, se = np.asarray(error, dtype=np.float64), np.asarray(se, dtype=np.float64)
        if error.shape != se.shape or not (np.isfinite(error).all() and (se > 0.0).all()):
            raise ValueError("every interval needs a finite error and a positive standard error")
        half_width = norm.ppf(0.5 + LEVEL / 2) * se
        return cls(int((np.abs(error) <= half_width).sum()), error.size)

    @property
    def rate(self) -> float:
        """Share that holds the truth."""
        return self.covered / self.n

    @property
    def binomial_error(self) -> float:
        """Standard error of the rate if every interval covers with probability 0.95."""
        return float(np.sqrt(LEVEL * (1.0 - LEVEL) / self.n))

    def agrees(self, tolerance: float = 0.0) -> bool:
        """Whether the rate lies within 2.58 binomial errors (99 %) of 0.95, widened by `tolerance`."""
        return abs(self.rate - LEVEL) <= NORMAL_99 * self.binomial_error + tolerance

    def __str__(self) -> str:
        return f"{self.rate:.4f} of {self.n:,} (binomial error {self.binomial_error:.4f})"


@dataclass(frozen=True)
class Replications:
    """What the replications of a design gave.

    Attributes:
        items: replication, cohort (1 or 2), and, for a and b, error_ and se_ columns; a row per calibrated item.
        abilities: replication, cohort, error (EAP - theta) and se (posterior sd); a row per learner.
        populations: replication, cohort, latent_mean, latent_sd.
        links: replication, A, B, se_A, se_B of the link of the second cohort's items to the first's.
    """

    items: pd.DataFrame
    abilities: pd.DataFrame
    populations: pd.DataFrame
    links: pd.DataFrame


def run(design: Design) -> Replications:
    """Simulate, calibrate and link all replications."""
    rng = np.random.default_rng(design.seed)
    bank = pd.DataFrame(
        {
            "a": rng.lognormal(0.0, 0.3, design.n_items) if design.model == "2PL" else np.ones(design.n_items),
            "b": rng.normal(0.0, 1.0, design.n_items),
        }
    )
    items, abilities, populations, links = [], [], [], []
    for replication in range(design.replications):
        fitted = []
        for cohort, (A, B) in enumerate([(1.0, 0.0), (PLANTED_A, PLANTED_B)], start=1):
            standard = rng.normal(0.0, 1.0, design.n_students)
            responses = Responses.from_long(*_answers(A * standard + B, bank, design.answers_each, rng))
            weak: dict[str, Any] = {"priors": "weak", "weak_unit": design.weak_unit} if design.weak else {}
            fit = calibrate(responses, model=design.model, **weak)
            if not fit.converged:
                raise AssertionError(f"replication {replication}, cohort {cohort} did not converge")
            # A calibration's own scale: population mean 0, and for the 2PL sd 1.
            unit = A if design.model == "2PL" else 1.0
            truth = pd.DataFrame({"a": unit * bank["a"], "b": (bank["b"] - B) / unit}).loc[fit.items["item_id"]]
            columns: dict[str, object] = {"replication": replication, "cohort": cohort}
            for name in ("a", "b"):
                columns[f"error_{name}"] = fit.items[name].to_numpy() - truth[name].to_numpy()
                columns[f"se_{name}"] = fit.items[f"se_{name}"].to_numpy()
            items.append(pd.DataFrame(columns))
            populations.append((replication, cohort, fit.latent_mean, fit.latent_sd))
            theta = estimate_abilities(responses, fit.items, method="EAP")
            own = (A * standard)[theta["student_id"].to_numpy()] / unit
            abilities.append(
                pd.DataFrame(
                    {
                        "replication": replication,
                        "cohort": cohort,
                        "error": theta["theta"].to_numpy() - own,
                        "se": theta["se"].to_numpy(),
                    }
                )
            )
            fitted.append(fit)
        reference, new = fitted
        found = link(
            new.items,
            reference.items,
            method="stocking_lord",
            covariance=new.covariance,
            reference_covariance=reference.covariance,
        )
        links.append((replication, found.A, found.B, found.se_A, found.se_B))
    return Replications(
        pd.concat(items, ignore_index=True),
        pd.concat(abilities, ignore_index=True),
        pd.DataFrame(populations, columns=["replication", "cohort", "latent_mean", "latent_sd"]),
        pd.DataFrame(links, columns=["replication", "A", "B", "se_A", "se_B"]),
    )


def _answers(
    theta: Floats, bank: pd.DataFrame, answers_each: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Bools]:
    """Learner, item and correctness of random answers."""
    answered = np.argsort(rng.random((len(theta), len(bank))), axis=1)[:, :answers_each]
    a, b = bank["a"].to_numpy(), bank["b"].to_numpy()
    correct = rng.random(answered.shape) < expit(a[answered] * (theta[:, None] - b[answered]))
    return np.repeat(np.arange(len(theta)), answers_each), answered.ravel(), correct.ravel()


@dataclass(frozen=True)
class Bias:
    """Mean error of an estimate over independent replications."""

    mean: float
    monte_carlo_error: float

    @classmethod
    def of(cls, errors: npt.ArrayLike) -> "Bias":
        """From the errors (estimate - truth) of the replications, shape (replications,)."""
        values = np.asarray(errors, dtype=np.float64)
        return cls(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))

    def agrees(self, errors: float = 2.0) -> bool:
        """Whether the mean error lies within so many Monte Carlo standard errors of zero."""
        return abs(self.mean) <= errors * self.monte_carlo_error

    def __str__(self) -> str:
        return f"{self.mean:+.4f} (Monte Carlo error {self.monte_carlo_error:.4f})"


# A posterior of 20 answers is not exactly normal, so EAP +- 1.96 posterior sds need not hold exactly 95 % of learners.
THETA_TOLERANCE = 0.005


class RecoveryChecks:
    """What calibration, abilities and links promise; a subclass chooses the sizes."""

    designs: ClassVar[dict[str, Design]]

    @pytest.fixture(scope="class", params=["2PL", "Rasch"])
    @classmethod
    def design(cls, request: pytest.FixtureRequest) -> Design:
        return cls.designs[request.param]

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, design: Design) -> Replications:
        return run(design)

    @staticmethod
    def estimated(design: Design) -> tuple[str, ...]:
        """Parameters that the model estimates."""
        return ("a", "b") if design.model == "2PL" else ("b",)

    @staticmethod
    def planted(design: Design) -> dict[str, float]:
        """Linking constants that the model estimates, with their true values.

        With a = 1 on both scales Rasch keeps the unit, A = 1 without error, and the latent sd takes the 1.2 up.
        """
        return {"A": PLANTED_A, "B": PLANTED_B} if design.model == "2PL" else {"B": PLANTED_B}

    def test_item_intervals_cover(self, design: Design, found: Replications) -> None:
        """An editor who reads a 95 % interval of a or b can trust it: neither bold nor timid."""
        for name in self.estimated(design):
            coverage = Coverage.of(found.items[f"error_{name}"], found.items[f"se_{name}"])
            assert coverage.n >= 2_000
            assert coverage.agrees(), f"intervals of {name}: {coverage}"

    def test_halved_item_errors_are_caught(self, design: Design, found: Replications) -> None:
        """The check above is worth its name: with errors of half the size it fails."""
        for name in self.estimated(design):
            coverage = Coverage.of(found.items[f"error_{name}"], found.items[f"se_{name}"] / 2.0)
            assert not coverage.agrees(), f"intervals of {name} at half their width: {coverage}"

    def test_ability_intervals_cover_over_the_population(self, found: Replications) -> None:
        """Of all learners, 95 % lie within EAP +- 1.96 posterior sds, and not with sds of half the size."""
        coverage = Coverage.of(found.abilities["error"], found.abilities["se"])
        assert coverage.agrees(THETA_TOLERANCE), f"intervals of theta: {coverage}"
        halved = Coverage.of(found.abilities["error"], found.abilities["se"] / 2.0)
        assert not halved.agrees(THETA_TOLERANCE), f"intervals of theta at half their width: {halved}"

    def test_population_is_recovered(self, design: Design, found: Replications) -> None:
        """The latent distribution belongs to the calibration: sd 1 in a 2PL, the true one in Rasch."""
        assert (found.populations["latent_mean"] == 0.0).all()
        if design.model == "2PL":
            assert (found.populations["latent_sd"] == 1.0).all()
            return
        for cohort, sd in ((1, 1.0), (2, PLANTED_A)):
            bias = Bias.of(found.populations.query("cohort == @cohort")["latent_sd"] - sd)
            assert bias.agrees(errors=NORMAL_99), f"latent sd of cohort {cohort}: {bias}"

    def test_planted_link_is_recovered_without_bias(self, design: Design, found: Replications) -> None:
        """A cohort that is 0.5 abler is reported as 0.5 abler, not as one that met easier items."""
        for name, truth in self.planted(design).items():
            bias = Bias.of(found.links[name] - truth)
            assert bias.agrees(), f"{name}: {bias}"

    def test_link_intervals_cover(self, design: Design, found: Replications) -> None:
        """The stated error of the linking constants is the error that they have, and half of it is not."""
        for name, truth in self.planted(design).items():
            error, se = found.links[name] - truth, found.links[f"se_{name}"]
            assert Coverage.of(error, se).agrees(), f"intervals of {name}: {Coverage.of(error, se)}"
            assert not Coverage.of(error, se / 2.0).agrees()
