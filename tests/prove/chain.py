"""A month of calibrations by the daily job's own steps, each linked to what was first published of its anchors."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy.special import expit

from irt_analytics.irt import Responses, link
from irt_analytics.irt.anchors import Scale
from irt_analytics.irt.item_fit import item_fit
from irt_analytics.jobs.mirt_calibrate import (
    BANK_COLUMNS,
    Linked,
    References,
    _estimate_cohort,
    assemble_bank,
    calibrate_natively,
    link_to_published,
)
from irt_analytics.params import RunParams

FIRST = date(2026, 1, 1)
PARAMS = RunParams()
NOBODY = pd.Series([], dtype=str)


@dataclass(frozen=True)
class Bank:
    """Items that come and go; every day another cohort of N(0, 1) answers those of the day, equally often.

    Attributes:
        items: on the first day.
        new: items a day from the next day on.
        retired: items a day that nobody gets any more, the oldest first.
        answers: of an item on a day.
        answers_each: items that a learner answers.
    """

    items: int
    new: int
    retired: int
    answers: int
    answers_each: int

    def month(self, days: int, seed: int) -> pd.DataFrame:
        """Links of the days after the first: day, A, B, se_A, se_B, drifted, chained_A, chained_B.

        The scale is the population's, so that A = 1 and B = 0; chained_A and chained_B come of links from every day to
        the day before.
        """
        rng = np.random.default_rng(seed)
        in_all = self.items + days * self.new
        a, b = rng.lognormal(0.0, 0.3, in_all), rng.normal(0.0, 1.0, in_all)
        published = _Published()
        rows, before, chained = [], pd.DataFrame(), (1.0, 0.0)
        for day in range(days + 1):
            active = np.arange(day * self.retired, self.items + day * self.new)
            linked, own = published.add(FIRST + timedelta(days=day), self._answers(active, a, b, rng))
            if linked.link is not None:
                yesterday = link(own, before)
                chained = chained[0] * yesterday.A, chained[0] * yesterday.B + chained[1]
                line, drifted = linked.link, int(linked.drift["drifted"].sum())
                rows.append((day, line.A, line.B, line.se_A, line.se_B, drifted, *chained))
            before = own
        return pd.DataFrame(rows, columns=["day", "A", "B", "se_A", "se_B", "drifted", "chained_A", "chained_B"])

    def _answers(self, active: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Responses:
        learners = len(active) * self.answers // self.answers_each
        theta = rng.normal(0.0, 1.0, (learners, 1))
        item = active[np.argsort(rng.random((learners, len(active))), axis=1)[:, : self.answers_each]]
        right = rng.random(item.shape) < expit(a[item] * (theta - b[item]))
        return Responses.from_long(np.repeat(np.arange(learners), self.answers_each), item.ravel(), right.ravel())


class _Published:
    """What the tables hold of the days so far."""

    def __init__(self) -> None:
        self._banks: dict[date, pd.DataFrame] = {}
        self._scales: dict[date, Scale] = {}

    def add(self, day: date, responses: Responses) -> tuple[Linked, pd.DataFrame]:
        """Calibrate a day, link it, publish it; and its items on its own scale."""
        fit = calibrate_natively(responses, PARAMS, unit=1.0)
        theta, cohort = _estimate_cohort(responses, fit, fit.groups, None)
        statistics = item_fit(responses, fit.items, theta["theta"])[["item_id", "infit", "outfit"]]
        references = self._references()
        linked = link_to_published(fit, cohort, References(references, self._scales), NOBODY, PARAMS)
        bank = next(reversed(self._banks.values()), pd.DataFrame(columns=BANK_COLUMNS)).drop(columns="status")
        reference = bank.merge(
            references[["item_id", "status", "run", "drifted_on"]].rename(columns={"status": "status_reference"})
        )
        questions = pd.DataFrame({"item_id": responses.item_ids, "topic_id": "t"})
        times = pd.Series(np.nan, index=responses.item_ids)
        minimum = PARAMS.item_minimum
        self._banks[day] = assemble_bank(linked, statistics, reference, questions, times, NOBODY, minimum, day)
        self._scales[day] = linked.errors
        return linked, fit.items

    def _references(self) -> pd.DataFrame:
        """As calibration/references.sql: of every item the parameters that it is linked to.

        Cohorts share nobody, and no window holds an earlier day, on which an item may have drifted.
        """
        if not self._banks:
            return pd.DataFrame(columns=[*BANK_COLUMNS, "run", "drifted_on"])
        last = next(reversed(self._banks.values())).set_index("item_id")["reference_as_of"]
        own = [bank[bank["item_id"].map(last) == day] for day, bank in self._banks.items()]
        rows = pd.concat([part for part in own if len(part)]).drop(columns="anchor")
        return rows.assign(run=rows["reference_as_of"], shared=0.0, shared_of_new=0.0, drifted_on=None)
