"""The two calibration engines on the same answers: how far apart what they publish lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import click
import numpy as np
import pandas as pd

from irt_analytics import db
from irt_analytics.irt import Responses, estimate_abilities
from irt_analytics.jobs._mirt_engine import calibrate_by_mirt
from irt_analytics.jobs.mirt_calibrate import calibrate_natively, load_day
from irt_analytics.params import Model, RunParams
from irt_analytics.runner import JobContext, JobRecord, configure_logging
from irt_analytics.settings import Settings, load_settings


@dataclass(frozen=True, eq=False)
class Parity:
    """What both engines make of the same answers.

    Attributes:
        differences: one row each for a, b, c, d = -a * b and theta: n compared, max_difference, mean_difference
            (absolute, native against mirt).
        native_only: items that only the native engine kept.
        mirt_only: items that only mirt kept.
        log_likelihood: of native, of mirt.
        latent_sd: of native, of mirt.
        converged: of native, of mirt.
    """

    differences: pd.DataFrame
    native_only: list[str]
    mirt_only: list[str]
    log_likelihood: tuple[float, float]
    latent_sd: tuple[float, float]
    converged: tuple[bool, bool]

    def __str__(self) -> str:
        lines = [self.differences.to_string(float_format="{:.2e}".format), ""]
        for name, pair in (("log-likelihood", self.log_likelihood), ("sd of theta", self.latent_sd)):
            lines.append(f"{name}: native {pair[0]:.4f}, mirt {pair[1]:.4f}, difference {pair[0] - pair[1]:+.1e}")
        lines.append(f"converged: native {self.converged[0]}, mirt {self.converged[1]}")
        lines += [
            f"items kept by {engine} only: {', '.join(items)}"
            for engine, items in (("native", self.native_only), ("mirt", self.mirt_only))
            if items
        ]
        return "\n".join(lines)


def compare_engines(responses: Responses, params: RunParams, settings: Settings) -> Parity:
    """Calibrate the same answers with both engines, each on its own scale, under the same priors."""
    native = calibrate_natively(responses, params, unit=1.0)
    mirt = calibrate_by_mirt(responses, params, settings, unit=native.weak_unit)
    left, right = native.items.set_index("item_id"), mirt.items.set_index("item_id")
    both = left.index.intersection(right.index)
    pairs = {name: (left.loc[both, name].to_numpy(), right.loc[both, name].to_numpy()) for name in ("a", "b", "c")}
    pairs["d"] = (-pairs["a"][0] * pairs["b"][0], -pairs["a"][1] * pairs["b"][1])
    theta = [estimate_abilities(responses, fit.items)["theta"].to_numpy() for fit in (native, mirt)]
    pairs["theta"] = (theta[0], theta[1])
    differences = {name: np.abs(ours - theirs) for name, (ours, theirs) in pairs.items()}
    return Parity(
        differences=pd.DataFrame(
            {
                name: {"n": len(gaps), "max_difference": gaps.max(), "mean_difference": gaps.mean()}
                for name, gaps in differences.items()
            }
        ).T.astype({"n": int}),
        native_only=[str(item) for item in left.index.difference(right.index)],
        mirt_only=[str(item) for item in right.index.difference(left.index)],
        log_likelihood=(native.log_likelihood, mirt.log_likelihood),
        latent_sd=(native.latent_sd, mirt.latent_sd),
        converged=(native.converged, mirt.converged),
    )


@click.command("parity")
@click.option(
    "--as-of",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="day whose calibration window is compared",
)
@click.option("--tenant", default="default", show_default=True, help="whose answers")
@click.option("--model", type=click.Choice(["2PL", "Rasch", "3PL"]), default="2PL", show_default=True)
@click.option("--priors", type=click.Choice(["weak", "none"]), default="weak", show_default=True)
def command(as_of: datetime, tenant: str, model: Model, priors: Literal["weak", "none"]) -> None:
    """Compare the native engine with R mirt on the answers that a day's calibration reads; writes nothing."""
    configure_logging()
    params, settings = RunParams(model=model, priors=priors), load_settings()
    with db.connect(settings) as connection:
        context = JobContext(tenant, as_of.date(), params, settings, connection, JobRecord(), None)
        responses = load_day(context)
    click.echo(
        f"{model}, priors {priors}: {responses.n_responses:,} answers of {responses.n_students:,} learners to "
        f"{responses.n_items:,} items"
    )
    click.echo(str(compare_engines(responses, params, settings)))
