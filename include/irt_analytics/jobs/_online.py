"""A learner's ability now: last night's bank, the learner's answers in the log, and answers that are newer than it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TextIO

import click
import numpy as np
import pandas as pd

from irt_analytics import db
from irt_analytics.errors import ConfigurationError
from irt_analytics.irt import OnlineBank
from irt_analytics.jobs._attempts import read_attempts
from irt_analytics.jobs._by_hand import reading
from irt_analytics.jobs._windows import read_bank
from irt_analytics.params import RunParams
from irt_analytics.runner import JobContext, JobRecord, configure_logging
from irt_analytics.settings import Settings, load_settings

#: Items that a message about several names.
SHOWN = 8


@dataclass(frozen=True)
class Estimate:
    """An ability: posterior mean and sd, and the number of answers behind them."""

    theta: float
    se: float
    n_responses: int

    def __str__(self) -> str:
        return f"theta {self.theta:.6f}, sd {self.se:.6f}, from {self.n_responses:,} answers"


@dataclass(frozen=True)
class Ability:
    """What is known of a learner.

    Attributes:
        bank: the published calibration, in words.
        nightly: what that calibration left, and of which day; None where it had no answer of the learner.
        logged: from the log's first attempts up to the day asked for.
        now: the same and the new answers.
    """

    bank: str
    nightly: tuple[date, Estimate] | None
    logged: Estimate
    now: Estimate

    def __str__(self) -> str:
        if self.nightly is None:
            last = "last night: no answer in the calibration's window"
        else:
            day, estimate = self.nightly
            last = f"last night ({day}): {estimate}; now {self.now.theta - estimate.theta:+.6f}"
        return "\n".join([f"now: {self.now}", last, f"by the log: {self.logged}", f"bank: {self.bank}"])


def ability_now(
    settings: Settings, tenant: str, as_of: date, student_id: str, answers: Sequence[tuple[str, bool]]
) -> Ability:
    """Take a learner's answers up to a day, as the day's calibration counts them, and new ones.

    Args:
        settings: where the database is.
        tenant: whose learner.
        as_of: last day of the log that is looked at, and whose published bank.
        student_id: the learner.
        answers: items answered since, each for the first time, and whether they were right.

    Raises:
        ConfigurationError: nothing is published by then, or the new answers name items that are not in the bank, that
            the learner has answered before, or twice.
        TemporaryError: the database is away.
    """
    learner = {"tenant_id": tenant, "as_of": as_of, "student_id": student_id}
    with reading(settings) as connection:
        fits = db.read_frame(connection, "calibration/published_fit", tenant_id=tenant, day=as_of)
        if fits.empty:
            raise ConfigurationError(
                f"--as-of={as_of}: tenant {tenant!r} has no items published by then: run mirt_calibrate first"
            )
        fit = fits.iloc[0]
        invalid = "missing" if pd.isna(fit["invalid_answers"]) else str(fit["invalid_answers"])
        params = RunParams.model_validate({"invalid_answers": invalid})
        context = JobContext(tenant, as_of, params, settings, connection, JobRecord(), None)
        items = read_bank(context)
        attempts = read_attempts(
            context, "online/first_attempts", student_id=student_id, window_start=fit["window_start"]
        )
        left = db.read_frame(connection, "online/ability", **learner, run_id=fit["run_id"])

    bank = OnlineBank(items, prior=(float(fit["latent_mean"]), float(fit["latent_sd"])))
    _refuse_uncountable(answers, set(attempts.item_ids), bank, student_id)
    online = bank.start()
    median_times = items.set_index("item_id")["median_time_ms"].reindex(attempts.item_ids)
    valid, correct, _ = attempts.judge(median_times.to_numpy(dtype=np.float64), params.invalid_answers)
    counted = valid & attempts.columns["inside"].to_numpy(zero_copy_only=False)
    for item, right in zip(attempts.item_ids[attempts.item[counted]], correct[counted].tolist(), strict=True):
        if item in bank:
            online.add(item, right)
    logged = Estimate(online.theta, online.se, online.n_responses)
    for item, right in answers:
        online.add(item, right)
    nightly = None
    if len(left):
        row = left.iloc[0]
        nightly = row["as_of"], Estimate(float(row["theta"]), float(row["se"]), int(row["n_responses"]))
    mean, sd = bank.prior
    return Ability(
        f"calibration {fit['run_id']} of {fit['as_of']}, {fit['model']}, {len(items):,} items, "
        f"mean of theta {mean:.3f}, sd {sd:.3f}",
        nightly,
        logged,
        Estimate(online.theta, online.se, online.n_responses),
    )


def _refuse_uncountable(
    answers: Sequence[tuple[str, bool]], answered: set[str], bank: OnlineBank, student_id: str
) -> None:
    items = [item for item, _ in answers]
    unknown = [item for item in items if item not in bank]
    if unknown:
        raise ConfigurationError(f"not in the published bank: {_some(unknown)}; expected items that it has")
    repeated = [item for item in dict.fromkeys(items) if item in answered or items.count(item) > 1]
    if repeated:
        raise ConfigurationError(
            f"learner {student_id!r} has answered {_some(repeated)} before: expected first attempts, for a repeated "
            "item measures memory of the feedback"
        )


def _some(items: list[str]) -> str:
    return ", ".join(map(repr, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")


def parse_answers(texts: Iterable[str]) -> list[tuple[str, bool]]:
    """Take ITEM=1 (right) and ITEM=0 (wrong) apart; empty texts are passed over.

    Raises:
        ConfigurationError: a text that is neither; shows it.
    """
    answers = []
    for text in map(str.strip, texts):
        if not text:
            continue
        item, equals, value = text.rpartition("=")
        if not (item and equals and value in ("0", "1")):
            raise ConfigurationError(f"answer {text!r}: expected ITEM=1 (right) or ITEM=0 (wrong)")
        answers.append((item, value == "1"))
    return answers


@click.command("ability")
@click.argument("student_id", metavar="LEARNER")
@click.argument("answers", nargs=-1, metavar="[ITEM=0|1]...")
@click.option(
    "--answers",
    "file",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help="more of them, a line each; -: standard input",
)
@click.option(
    "--as-of",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="last complete day: its bank, and the log up to its end",
)
@click.option("--tenant", default="default", show_default=True, help="whose learner")
def command(student_id: str, answers: tuple[str, ...], file: TextIO | None, as_of: datetime, tenant: str) -> None:
    """Estimate the ability of LEARNER from the log and newer answers, as the next night would; writes nothing.

    Answers are first attempts that are not in the log up to that day, ITEM=1 right and ITEM=0 wrong.
    """
    configure_logging()
    new = parse_answers([*answers, *(file or ())])
    click.echo(str(ability_now(load_settings(), tenant, as_of.date(), student_id, new)))
