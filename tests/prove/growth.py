"""Growth between two fortnights on answers whose growth is known: what its error is worth, and what is found of tau."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from irt_analytics.jobs._growth import estimate_cohort, fortnight_growth, posterior_growth

ITEMS = 300
ROUTING_SD = 0.7  # learners meet items near their ability
MEAN_GROWTH = 0.05


@dataclass(frozen=True)
class Recovery:
    """What one cohort tells.

    Attributes:
        raw_coverage: share of raw +- 1.96 se that hold the true growth.
        squared_z: mean of ((raw - truth) / se)^2, 1 where the error is right.
        tau: the estimate.
        coverage: share of intervals of I_t that hold the true growth.
    """

    raw_coverage: float
    squared_z: float
    tau: float
    coverage: float


def recover(learners: int, answers: int, tau: float, seed: int) -> Recovery:
    """Simulate `learners` with `answers` in each fortnight, theta ~ N(0, 0.9^2) and growth ~ N(0.05, tau^2)."""
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(0.1, 0.3, ITEMS), rng.normal(size=ITEMS)
    theta, growth = rng.normal(0, 0.9, learners), rng.normal(MEAN_GROWTH, tau, learners)
    keys = -0.5 * ((b - theta[:, None]) / ROUTING_SD) ** 2 + rng.gumbel(size=(learners, ITEMS))
    item = np.argsort(-keys, axis=1)[:, : 2 * answers]
    recent = np.arange(2 * answers) % 2 == 1
    probability = expit(a[item] * (theta[:, None] + recent * growth[:, None] - b[item]))
    log = {
        "learner": np.repeat(np.arange(learners), 2 * answers),
        "item": item.ravel() + 1,
        "day": np.tile(np.where(recent, 27, 13), learners),
        "correct": (rng.random(item.shape) < probability).ravel().astype(np.int8),
    }
    bank = pd.DataFrame({"a": a, "b": b, "c": 0.0}, index=pd.RangeIndex(1, ITEMS + 1))
    found = fortnight_growth(log, bank, np.array([27]))
    raw, se = found["raw"].to_numpy(), found["se"].to_numpy()
    cohort = estimate_cohort(raw, se)
    posterior = posterior_growth(raw, se, cohort)
    z = (raw - growth) / se
    return Recovery(
        raw_coverage=float((np.abs(z) < 1.96).mean()),
        squared_z=float((z**2).mean()),
        tau=cohort.tau,
        coverage=float(((posterior["lower"] <= growth) & (growth <= posterior["upper"])).mean()),
    )


def table(replications: int, learners: int) -> pd.DataFrame:
    """Means over replications, one row an answer count and tau."""
    rows = []
    for answers in (5, 8, 12, 20, 40):
        for tau in (0.0, 0.15, 0.3):
            runs = pd.DataFrame([vars(recover(learners, answers, tau, seed)) for seed in range(replications)])
            rows.append({"answers": answers, "planted": tau, **runs.mean()})
    return pd.DataFrame(rows)
