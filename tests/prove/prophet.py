"""Weekly series with planted anomalies, and how well forecasts hold their weeks and verdicts find the planted ones.

A series is its forecastable part and weekly noise of sd 1. Kinds of the former and the latter:

- line: a straight line, slope up to 0.15 a week; white noise.
- bend: the same line, whose slope changes once by up to 0.3.
- autocorrelated: the line; noise of the first order autoregression, coefficient 0.4.
- wandering: a level that walks at random, 0.25 a week; white noise.
- cycle: the line and a cycle of amplitude 1 and nine weeks, which the model does not know.
- overlapping: the line; noise of I_t, the mean of two weeks less that of the two before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.jobs.forecast_prophet import HORIZON_WEEKS, LEVEL, THRESHOLD

Floats = npt.NDArray[np.float64]

FIRST_MONDAY = date(2024, 1, 1)
#: Weeks before the first planted anomaly: as many as a verdict needs.
UNJUDGED = 12
#: Size of a planted anomaly in sds.
SIZE = 4.0
UNIT = 0.05


@dataclass(frozen=True)
class Series:
    """A simulated series.

    Attributes:
        kind: as in the module's docstring.
        values: the weeks read.
        later: the weeks after them.
        planted: which of the weeks read are anomalies.
    """

    kind: str
    values: Floats
    later: Floats
    planted: npt.NDArray[np.bool_]


def simulate(kind: str, weeks: int, rng: np.random.Generator, *, size: str = "predictive") -> Series:
    """Simulate a series with none, one or two anomalies.

    Args:
        kind: as in the module's docstring.
        weeks: weeks read.
        rng: source of randomness.
        size: sd that an anomaly is four of: "predictive", of the error of a straight line through the weeks before,
            which is what z is measured in; or "noise", of the noise alone.
    """
    n = weeks + HORIZON_WEEKS
    t = np.arange(n)
    noise = rng.normal(size=n)
    level = rng.uniform(-0.15, 0.15) * t
    if kind == "bend":
        level = level + rng.uniform(-0.3, 0.3) * np.maximum(0, t - rng.integers(8, max(9, weeks - 8)))
    elif kind == "autocorrelated":
        for week in range(1, n):
            noise[week] = 0.4 * noise[week - 1] + np.sqrt(1 - 0.4**2) * noise[week]
    elif kind == "wandering":
        level = np.cumsum(rng.normal(0, 0.25, n))
    elif kind == "cycle":
        level = level + np.sin(2 * np.pi * (t / 9 + rng.uniform()))
    elif kind == "overlapping":
        noise = np.convolve(rng.normal(size=n + 3), [0.5, 0.5, -0.5, -0.5], "valid")
    elif kind != "line":
        raise ValueError(f"kind {kind!r}: expected line, bend, autocorrelated, wandering, cycle or overlapping")
    values = level + noise
    planted = np.zeros(weeks, dtype=bool)
    planted[rng.choice(np.arange(UNJUDGED, weeks), rng.integers(0, 3), replace=False)] = True
    sd = _line_error_sd(kind, weeks) if size == "predictive" else 1.0
    values[:weeks] += planted * SIZE * sd * rng.choice([-1.0, 1.0], weeks)
    return Series(kind, UNIT * values[:weeks], UNIT * values[weeks:], planted)


def _line_error_sd(kind: str, weeks: int) -> Floats:
    """Standard deviation of a week's value about a least squares line through those before, up to the bend."""
    t = np.arange(weeks)
    lag = np.abs(t[:, None] - t)
    covariance = 0.4**lag if kind == "autocorrelated" else np.eye(weeks)
    if kind == "overlapping":
        covariance = np.select([lag == 0, lag == 1, lag == 2, lag == 3], [1.0, 0.25, -0.5, -0.25])
    elif kind == "wandering":
        covariance = covariance + 0.25**2 * (1 + np.minimum(t[:, None], t))
    elif kind == "cycle":
        covariance = covariance + 0.5 * np.cos(2 * np.pi * lag / 9)
    sd = np.ones(weeks)
    for week in range(2, weeks):
        past = np.column_stack([np.ones(week), t[:week]])
        error = np.append(-np.array([1.0, week]) @ np.linalg.pinv(past), 1.0)
        sd[week] = np.sqrt(error @ covariance[: week + 1, : week + 1] @ error)
    return sd


def request(series: Sequence[Series]) -> ProphetFitRequest:
    """The request that forecasts all of the series, which have the same length."""
    weeks = [FIRST_MONDAY + timedelta(weeks=week) for week in range(len(series[0].values))]
    return ProphetFitRequest(
        series=[f"{number:04}" for number in range(len(series)) for _ in weeks],
        week=weeks * len(series),
        value=[float(value) for each in series for value in each.values],
        se=[UNIT] * (len(weeks) * len(series)),
        last_week=weeks[-1],
        horizon=HORIZON_WEEKS,
        level=LEVEL,
        threshold=THRESHOLD,
    )


def measure(series: Sequence[Series], result: ProphetFitResult) -> pd.DataFrame:
    """What became of the planted anomalies, the other weeks and the later ones: counts by kind."""
    kinds = np.array([each.kind for each in series])
    judged = pd.DataFrame(result.history.model_dump())
    judged["planted"] = np.concatenate([each.planted for each in series])
    judged["kind"] = np.repeat(kinds, len(series[0].values))
    judged = judged[judged["z"].notna()]
    ahead = pd.DataFrame(result.forecast.model_dump())
    later = np.concatenate([each.later for each in series])
    ahead["held"] = (ahead["lower"] <= later) & (later <= ahead["upper"])
    ahead["kind"] = np.repeat(kinds, HORIZON_WEEKS)
    planted, others = judged[judged["planted"]], judged[~judged["planted"]]
    return pd.DataFrame(
        {
            "planted": planted.groupby("kind").size(),
            "found": planted.groupby("kind")["anomaly"].sum(),
            "others": others.groupby("kind").size(),
            "false": others.groupby("kind")["anomaly"].sum(),
            "later": ahead.groupby("kind").size(),
            "held": ahead.groupby("kind")["held"].sum(),
        }
    ).fillna(0)


def table(
    fit: Callable[[ProphetFitRequest], ProphetFitResult],
    kinds: Sequence[str],
    weeks: int,
    replications: int,
    *,
    seed: int = 1,
    size: str = "predictive",
) -> pd.DataFrame:
    """Counts by kind, over `replications` series each."""
    rng = np.random.default_rng(seed)
    series = [simulate(kind, weeks, rng, size=size) for kind in kinds for _ in range(replications)]
    return measure(series, fit(request(series)))


def rates(counts: pd.DataFrame) -> dict[str, float]:
    """Recall of the planted anomalies, false verdicts a week, and share of later weeks in their interval."""
    total = counts.sum()
    return {
        "recall": float(total["found"] / total["planted"]),
        "false": float(total["false"] / total["others"]),
        "coverage": float(total["held"] / total["later"]),
    }


def weekly_means(mean: float, answers: int, *, learners: int = 100, cohorts: int = 20, seed: int = 1) -> pd.Series:
    """Error of a week's mean theta: of EAP, of y weighted by precision, and of the random-effects mean of y.

    theta ~ N(mean, 0.8^2), 2PL items met near the learner's ability, prior N(0, 1).
    """
    rng = np.random.default_rng(seed)
    items = pd.DataFrame({"item_id": np.arange(300), "a": rng.lognormal(0.1, 0.3, 300), "b": rng.normal(size=300)})
    a, b = items["a"].to_numpy(), items["b"].to_numpy()
    errors = []
    for _ in range(cohorts):
        theta = rng.normal(mean, 0.8, learners)
        keys = -0.5 * ((b - theta[:, None]) / 0.7) ** 2 + rng.gumbel(size=(learners, len(b)))
        item = np.argsort(-keys, axis=1)[:, :answers]
        correct = rng.random(item.shape) < expit(a[item] * (theta[:, None] - b[item]))
        responses = Responses.from_long(np.repeat(np.arange(learners), answers), item.ravel(), correct.ravel())
        found = estimate_abilities(responses, items.assign(c=0.0), method="EAP", prior=(0.0, 1.0))
        m, s = found["theta"].to_numpy(), found["se"].to_numpy()
        v = 1 / (1 / s**2 - 1)
        y = v * m / s**2
        w = 1 / v
        tau2 = (np.sum(w * (y - np.average(y, weights=w)) ** 2) - (learners - 1)) / (w.sum() - (w**2).sum() / w.sum())
        star = 1 / (v + max(0.0, tau2))
        estimates = [m.mean(), np.average(y, weights=w), np.average(y, weights=star)]
        errors.append(np.array(estimates) - theta.mean())
    return pd.Series(np.mean(errors, axis=0), ["eap", "by_precision", "random_effects"])
