"""Weekly series with planted anomalies, and how well forecasts hold their weeks and verdicts find the planted ones.

A series is its forecastable part and weekly noise of sd 1. Kinds of the former and the latter:

- line: a straight line, slope up to 0.15 a week; white noise.
- bend: the same line, whose slope changes once by up to 0.3.
- autocorrelated: the line; noise of the first order autoregression, coefficient 0.4.
- wandering: a level that walks at random, 0.25 a week; white noise.
- cycle: the line and a cycle of amplitude 1 and nine weeks, which the model does not know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult
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
        size: sd that an anomaly is four of: "predictive", of the forecast of that week from those before by a straight
            line, which is what z is measured in; or "noise", of the noise alone.
    """
    n = weeks + HORIZON_WEEKS
    t = np.arange(n)
    noise = rng.normal(size=n)
    level = rng.uniform(-0.15, 0.15) * t
    if kind == "bend":
        level = level + rng.uniform(-0.3, 0.3) * np.maximum(0, t - rng.integers(8, weeks - 8))
    elif kind == "autocorrelated":
        for week in range(1, n):
            noise[week] = 0.4 * noise[week - 1] + np.sqrt(1 - 0.4**2) * noise[week]
    elif kind == "wandering":
        level = np.cumsum(rng.normal(0, 0.25, n))
    elif kind == "cycle":
        level = level + np.sin(2 * np.pi * (t / 9 + rng.uniform()))
    elif kind != "line":
        raise ValueError(f"kind {kind!r}: expected line, bend, autocorrelated, wandering or cycle")
    values = level + noise
    planted = np.zeros(weeks, dtype=bool)
    planted[rng.choice(np.arange(UNJUDGED, weeks), rng.integers(0, 3), replace=False)] = True
    before = np.maximum(t[:weeks], 2)
    sd = np.sqrt(1 + 2 * (2 * before + 1) / (before * (before - 1.0))) if size == "predictive" else 1.0
    values[:weeks] += planted * SIZE * sd * rng.choice([-1.0, 1.0], weeks)
    return Series(kind, UNIT * values[:weeks], UNIT * values[weeks:], planted)


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
    weeks: Sequence[int],
    replications: int,
    *,
    seed: int = 1,
    size: str = "predictive",
) -> pd.DataFrame:
    """Counts by kind and number of weeks, over `replications` series each."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in weeks:
        series = [simulate(kind, length, rng, size=size) for kind in kinds for _ in range(replications)]
        parts.append(measure(series, fit(request(series))).assign(weeks=length, series=replications))
    return pd.concat(parts).reset_index(names="kind")


def rates(counts: pd.DataFrame) -> dict[str, float]:
    """Recall of the planted anomalies, false verdicts a week, and share of later weeks in their interval."""
    total = counts.drop(columns="kind").sum()
    return {
        "recall": float(total["found"] / total["planted"]),
        "false": float(total["false"] / total["others"]),
        "coverage": float(total["held"] / total["later"]),
    }
