"""Growth between two windows: shrinkage towards the cohort, and growth in accuracy where theta cannot be had."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.irt.information import item_information

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORTNIGHT_DAYS = 14
#: Answers that growth needs in each fortnight.
ANSWERS_A_FORTNIGHT = 5
#: Standard error of growth, in units of theta, from which on answers say nothing of it: those to items far below the
#: learner in one fortnight and far above in the other, or to items that hardly separate learners.
USELESS_ERROR = 10.0

#: Learners needed before the cohort's growth is estimated rather than assumed.
MIN_LEARNERS = 20
ASSUMED_MEAN = 0.0
ASSUMED_SD = 0.3
#: Range of I_t and of its interval.
LIMIT = 1.0

#: Normal quantile of 95 % intervals.
Z95 = float(ndtri(0.975))

_NODES = 16  # of the distribution of the estimated between-learner variance


@dataclass(frozen=True)
class CohortGrowth:
    """Mean `m` and standard deviation `tau` of true growth over a cohort, with the errors of m and of tau squared.

    The errors are 0 where m and tau are assumed, not estimated.
    """

    m: float
    tau: float
    se_m: float
    se_tau_squared: float


def fortnight_growth(answers: dict[str, npt.NDArray[Any]], bank: pd.DataFrame, last_days: Ints) -> pd.DataFrame:
    """Difference of theta between the two fortnights before the end of each week.

    theta of a fortnight is Warm's (1989) weighted likelihood estimate. The squared error of the difference is the sum
    of the two fortnights' inverse test information, both taken at the learner's common theta (the mean of the two
    estimates weighted by their information), as in a score test of no growth. At each estimate of its own, an error
    would grow with the very difference it belongs to: the weights 1 / se^2 then hide growth that differs between
    learners, and tau comes out as 0.

    Args:
        answers: equally long arrays learner, item (numbers), day (counted from any day) and correct (0 or 1).
        bank: a, b, c by item number.
        last_days: last day of each week, counted like the answers' days, shape (weeks,).

    Returns:
        DataFrame, one row a learner and week with an answer in either fortnight: learner, week (position in
        `last_days`), n (answers in both), raw (the difference, units of theta) and se; NaN where a fortnight has fewer
        than `ANSWERS_A_FORTNIGHT`, or where se would be `USELESS_ERROR` or more, which `useless` says.
    """
    span = [int(answers[name].max(initial=0)) + 1 for name in ("learner", "item")]
    in_order = ((answers["day"] * span[0] + answers["learner"]) * span[1] + answers["item"]).argsort()
    item, day, correct = (answers[name][in_order] for name in ("item", "day", "correct"))
    learners, learner = np.unique(answers["learner"][in_order], return_inverse=True)
    ends = np.unique(np.concatenate([last_days, last_days - FORTNIGHT_DAYS]))
    starts = np.searchsorted(day, ends - FORTNIGHT_DAYS, side="right")
    stops = np.searchsorted(day, ends, side="right")
    fortnights = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    recent = np.searchsorted(ends, last_days)
    previous = np.searchsorted(ends, last_days - FORTNIGHT_DAYS)

    counts = np.stack([np.bincount(learner[rows], minlength=len(learners)) for rows in fortnights])
    enough = counts >= ANSWERS_A_FORTNIGHT
    both = enough[recent] & enough[previous]
    wanted = np.zeros_like(enough)
    np.logical_or.at(wanted, recent, both)
    np.logical_or.at(wanted, previous, both)
    used = [np.arange(rows.start, rows.stop)[wanted[end, learner[rows]]] for end, rows in enumerate(fortnights)]
    end_of = np.repeat(np.arange(len(ends)), [len(rows) for rows in used])
    taken = np.concatenate(used)
    responses = Responses.from_long(end_of * len(learners) + learner[taken], item[taken], correct[taken])
    estimated = estimate_abilities(responses, bank.rename_axis("item_id").reset_index(), method="WLE")
    theta, se = np.full((2, counts.size), np.nan)
    theta[estimated["student_id"]], se[estimated["student_id"]] = estimated["theta"], estimated["se"]
    theta, se = theta.reshape(counts.shape), se.reshape(counts.shape)

    row = bank.index.get_indexer(pd.Index(item))
    a, b, c = (bank[name].to_numpy()[row] for name in ("a", "b", "c"))
    information = se**-2
    error = np.full(both.shape, np.nan)
    for now, before, ready, squared_error in zip(recent, previous, both, error, strict=True):
        common = (information[now] * theta[now] + information[before] * theta[before]) / (
            information[now] + information[before]
        )
        squared_error[ready] = 0.0
        for rows in (fortnights[now], fortnights[before]):
            of_answer = item_information(common[learner[rows]], a[rows], b[rows], c[rows])
            in_window = np.bincount(learner[rows], of_answer, minlength=len(learners))
            squared_error[ready] += 1 / in_window[ready]

    useful = error < USELESS_ERROR**2
    raw = np.where(useful, theta[recent] - theta[previous], np.nan)
    n = counts[recent] + counts[previous]
    week, who = np.nonzero(n)
    return pd.DataFrame(
        {
            "learner": learners[who],
            "week": week,
            "n": n[week, who],
            "raw": raw[week, who],
            "se": np.sqrt(np.where(useful, error, np.nan))[week, who],
            "useless": (both & ~useful)[week, who],
        }
    )


def estimate_cohort(growth: Floats, se: Floats) -> CohortGrowth:
    """Estimate mean and spread of true growth from growth measured with known error, one value a learner.

    The moment estimator of DerSimonian and Laird (1986, eq. 8 and 9) on all learners; its standard error follows from
    the variance of Cochran's Q under the random-effects model (Biggerstaff and Tweedie, 1997). With fewer than
    `MIN_LEARNERS` the assumed values are returned.

    Args:
        growth: measured growth, shape (learners,).
        se: its standard errors, shape (learners,), above 0.

    Raises:
        ValueError: a standard error is not a positive number.
    """
    if not (np.isfinite(se) & (se > 0)).all():
        raise ValueError(f"standard errors must be positive, got {se[~(np.isfinite(se) & (se > 0))][0]}")
    if len(growth) < MIN_LEARNERS:
        return CohortGrowth(ASSUMED_MEAN, ASSUMED_SD, 0.0, 0.0)
    w = se**-2.0
    s1, s2, s3 = w.sum(), (w**2).sum(), (w**3).sum()
    q = (w * (growth - (w * growth).sum() / s1) ** 2).sum()
    degrees = len(growth) - 1
    c = s1 - s2 / s1
    tau_squared = max(0.0, (q - degrees) / c)
    q_variance = 2 * degrees + 4 * c * tau_squared + 2 * (s2 - 2 * s3 / s1 + (s2 / s1) ** 2) * tau_squared**2
    w_random = 1 / (se**2 + tau_squared)
    m = (w_random * growth).sum() / w_random.sum()
    return CohortGrowth(
        m=float(m),
        tau=float(np.sqrt(tau_squared)),
        se_m=float(w_random.sum() ** -0.5),
        se_tau_squared=float(np.sqrt(q_variance) / c),
    )


def posterior_growth(growth: Floats, se: Floats, cohort: CohortGrowth) -> pd.DataFrame:
    """Posterior of each learner's true growth under the prior N(m, tau^2) of the cohort.

    The mean is (tau^2 growth + se^2 m) / (tau^2 + se^2). Its variance adds to tau^2 se^2 / (tau^2 + se^2) what not
    knowing m and tau costs (Morris, 1983): the average over tau^2 ~ N(estimate, error^2) truncated at 0. Without it a
    cohort whose tau is estimated as 0 would have intervals of no width.

    Returns:
        DataFrame, one row a learner: value, lower and upper (95 %, all clamped to [-LIMIT, LIMIT]), pr_positive.
    """
    mean = _shrunk(growth, se, cohort.m, cohort.tau**2)
    variance = np.zeros_like(mean)
    for tau_squared in _plausible_tau_squared(cohort):
        weight_of_m = se**2 / (tau_squared + se**2)
        conditional = tau_squared * weight_of_m + (weight_of_m * cohort.se_m) ** 2
        variance += conditional + (_shrunk(growth, se, cohort.m, tau_squared) - mean) ** 2
    sd = np.sqrt(variance / _NODES)
    return pd.DataFrame(
        {
            "value": np.clip(mean, -LIMIT, LIMIT),
            "lower": np.clip(mean - Z95 * sd, -LIMIT, LIMIT),
            "upper": np.clip(mean + Z95 * sd, -LIMIT, LIMIT),
            "pr_positive": ndtr(mean / sd),
        }
    )


def _shrunk(growth: Floats, se: Floats, m: float, tau_squared: float) -> Floats:
    return (tau_squared * growth + se**2 * m) / (tau_squared + se**2)


def _plausible_tau_squared(cohort: CohortGrowth) -> Floats:
    """Equally likely values of tau squared: midpoint quantiles of its normal distribution truncated at 0."""
    estimate, error = cohort.tau**2, cohort.se_tau_squared
    if error == 0:
        return np.full(_NODES, estimate)
    below_zero = ndtr(-estimate / error)
    quantiles = (np.arange(_NODES) + 0.5) / _NODES
    return np.asarray(estimate + error * ndtri(below_zero + quantiles * (1 - below_zero)))


def growth_in_accuracy(counts: pd.DataFrame) -> pd.DataFrame:
    """Growth in item-standardised accuracy, for learners whose items carry no published parameters.

    Each window's accuracy is compared with what other learners scored on the same items (indirect standardisation), so
    that meeting harder items is no loss. One success and one failure are added to either window (Agresti and Caffo,
    2000), to the expected share too, which leaves (x - e) / (n + 2) of each.

    Args:
        counts: per learner and window (recent, previous): n_<window> answers, x_<window> of them correct, e_<window>
            expected correct.

    Returns:
        DataFrame with the index of `counts`: raw (difference of (x - e) / n), value, se, lower and upper (95 %,
        clamped to [-LIMIT, LIMIT]), pr_positive.
    """
    raw, value, variance = (pd.Series(0.0, index=counts.index) for _ in range(3))
    for window, sign in (("recent", 1), ("previous", -1)):
        n, x, e = (counts[f"{name}_{window}"].astype("float64") for name in ("n", "x", "e"))
        adjusted = (x + 1) / (n + 2)
        raw += sign * (x - e) / n
        value += sign * (x - e) / (n + 2)
        variance += adjusted * (1 - adjusted) / (n + 2)
    se = np.sqrt(variance)
    columns: dict[str, Any] = {
        "raw": raw,
        "value": value.clip(-LIMIT, LIMIT),
        "se": se,
        "lower": (value - Z95 * se).clip(-LIMIT, LIMIT),
        "upper": (value + Z95 * se).clip(-LIMIT, LIMIT),
        "pr_positive": ndtr(value / se),
    }
    return pd.DataFrame(columns, index=counts.index)
