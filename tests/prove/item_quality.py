"""Answers that follow the model, or do not in a way that is known, for tests of items and learners."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import chi2

from irt_analytics.irt import Responses, calibrate
from irt_analytics.irt.calibrate import Calibration
from irt_analytics.irt.dif import Dif, Matching, differential_functioning

Floats = npt.NDArray[np.float64]
Model = Literal["2PL", "Rasch"]


def draw(
    model: str, theta: Floats, n_items: int, answers_each: int, rng: np.random.Generator, shift: Floats | None = None
) -> Responses:
    """Answers to random items; a ~ lognormal(0, 0.3) or 1, b ~ N(0, 1), `shift` (learners, items) in logits."""
    a = rng.lognormal(0.0, 0.3, n_items) if model == "2PL" else np.ones(n_items)
    b = rng.normal(0.0, 1.0, n_items)
    answered = np.argsort(rng.random((len(theta), n_items)), axis=1)[:, :answers_each]
    eta = a[answered] * (theta[:, None] - b[answered])
    if shift is not None:
        eta = eta + np.take_along_axis(shift, answered, axis=1)
    student = np.repeat(np.arange(len(theta)), answers_each)
    return Responses.from_long(student, answered.ravel(), (rng.random(eta.shape) < expit(eta)).ravel())


def two_groups(
    model: str,
    n_each: int,
    *,
    n_items: int,
    answers_each: int,
    impact: float,
    seed: int,
    shift: float = 0.0,
    n_shifted: int = 0,
) -> tuple[Responses, npt.NDArray[np.int64]]:
    """Two groups `impact` sds apart; the first items are `shift` logits easier for the second, the less able one."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1], n_each)
    theta = rng.normal(size=2 * n_each) + impact * (0.5 - group)
    shifts = np.where((group[:, None] == 1) & (np.arange(n_items) < n_shifted), shift, 0.0)
    return draw(model, theta, n_items, answers_each, rng, shifts), group


def compare(
    model: str,
    n_each: int,
    *,
    n_items: int,
    answers_each: int,
    impact: float,
    seed: int,
    shift: float = 0.0,
    n_shifted: int = 0,
    matching: Matching = "ability",
) -> Dif:
    """Calibrate both groups together and compare them."""
    responses, group = two_groups(
        model,
        n_each,
        n_items=n_items,
        answers_each=answers_each,
        impact=impact,
        seed=seed,
        shift=shift,
        n_shifted=n_shifted,
    )
    chosen: Model = "2PL" if model == "2PL" else "Rasch"
    fit = calibrate(responses, chosen, group=group, standard_errors=False)
    return differential_functioning(responses, fit.items, group, matching=matching)


def plausible_value_q1(responses: Responses, fit: Calibration, draws: int, rng: np.random.Generator) -> Floats:
    """p of PV-Q1 (Chalmers and Ng, 2017): Yen's Q1 over ten groups by plausible values, averaged over draws."""
    nodes = np.linspace(-6.0, 6.0, 241)
    # An item that is not calibrated (a = 0) says nothing.
    calibrated = fit.items.set_index("item_id").reindex(responses.item_ids)
    a, b = (calibrated[name].fillna(0.0).to_numpy() for name in ("a", "b"))
    log_p = -np.logaddexp(0.0, -a[:, None] * (nodes - b[:, None]))
    log_q = -np.logaddexp(0.0, a[:, None] * (nodes - b[:, None]))
    log_posterior = np.tile(-0.5 * ((nodes - fit.latent_mean) / fit.latent_sd) ** 2, (responses.n_students, 1))
    learner = np.repeat(np.arange(responses.n_students), np.diff(responses.indptr))
    item, right = responses.answers >> 1, responses.answers & 1
    np.add.at(log_posterior, learner, np.where(right[:, None] == 1, log_p[item], log_q[item]))
    weights = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    cumulative = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    statistic, df = np.zeros(len(a)), np.zeros(len(a))
    for _ in range(draws):
        at = (cumulative < rng.random((responses.n_students, 1))).sum(axis=1)
        theta = nodes[at] + (rng.random(len(at)) - 0.5) * (nodes[1] - nodes[0])
        group = np.empty(len(theta), dtype=np.int64)
        group[np.argsort(theta, kind="stable")] = np.arange(len(theta)) * 10 // len(theta)
        cell = item.astype(np.int64) * 10 + group[learner]
        n, correct, total = (
            np.bincount(cell, weights=values, minlength=10 * len(a)).reshape(-1, 10)
            for values in (np.ones(len(cell)), right, theta[learner])
        )
        with np.errstate(invalid="ignore"):
            p = expit(a[:, None] * (total / n - b[:, None]))
            counted = (n > 1) & (n * np.minimum(p, 1.0 - p) >= 2.0)
            statistic += np.where(counted, (correct - n * p) ** 2 / (n * p * (1.0 - p)), 0.0).sum(axis=1)
        df += counted.sum(axis=1) - (2 if fit.model == "2PL" else 1)
    return np.asarray(chi2.sf(statistic / draws, df / draws))[calibrated["a"].notna().to_numpy()]
