"""Pairs of calibrations whose answers are in part the same, and anchors that moved, with the truth known."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from irt_analytics.irt import Responses, calibrate, estimate_abilities
from irt_analytics.irt.anchors import Cohort, Scale, link_anchors, with_covariances
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.item_fit import item_fit
from irt_analytics.irt.item_tests import curve_fit
from irt_analytics.jobs.mirt_calibrate import _choose
from irt_analytics.params import RunParams

Floats = npt.NDArray[np.float64]
FIRST = date(2026, 1, 1)
WINDOW = 30


def calibrate_logs(
    reference: pd.DataFrame, new: pd.DataFrame, *, model: Model = "2PL"
) -> tuple[pd.DataFrame, Scale, pd.DataFrame, dict[date, Scale]]:
    """Calibrate two logs (student, item, correct; equal index: the same answer): what `link_anchors` takes."""
    items, cohorts, abilities = [], [], []
    for log in (reference, new):
        responses = Responses.from_long(log["student"], log["item"], log["correct"])
        fit = calibrate(responses, model=model, priors="weak")
        abilities.append(estimate_abilities(responses, fit.items))
        cohorts.append(Cohort.of(abilities[-1], 0.0, fit.latent_sd, fixed_unit=model == "Rasch"))
        items.append(with_covariances(fit.items, fit.error_blocks))
    scales = [Scale.of(own, cohort.line, in_items=True) for own, cohort in zip(items, cohorts, strict=True)]
    first = cohorts[0]
    with_new = cohorts[1].covariance_with(abilities[0], 0.0, items[0].attrs["latent_sd"], first.moments, first.to_line)
    both = reference.loc[reference.index.intersection(new.index)]
    m, n_reference, n_new = (log.groupby("item").size() for log in (both, reference, new))
    anchors = items[0].assign(
        run=FIRST,
        shared=(m / n_reference).reindex(items[0]["item_id"]).fillna(0.0).to_numpy(),
        shared_of_new=(m / n_new).reindex(items[0]["item_id"]).fillna(0.0).to_numpy(),
    )
    of_reference = {FIRST: replace(scales[0], with_new=with_new)}
    return items[1], scales[1], anchors, of_reference


@dataclass(frozen=True)
class Windows:
    """Two windows of 30 days of one log, the second `later` days after the first.

    Attributes:
        later: days.
        learners: who answer within a window of 30 days, about.
        items: of the bank.
        answers_each: items that every learner answers.
        spread: "learner": every learner answers within a day; "days": over all the days of both windows.
    """

    later: int
    learners: int
    items: int
    answers_each: int
    spread: Literal["learner", "days"]

    def draw(self, rng: np.random.Generator, model: Model = "2PL") -> pd.DataFrame:
        """A log: student, item, correct, day."""
        days = WINDOW + self.later
        n = self.learners if self.spread == "days" else round(self.learners * days / WINDOW)
        a = rng.lognormal(0.0, 0.3, self.items) if model != "Rasch" else np.ones(self.items)
        b = rng.normal(0.0, 1.0, self.items)
        theta = rng.normal(0.0, 1.0, n)
        item = np.argsort(rng.random((n, self.items)), axis=1)[:, : self.answers_each]
        day = rng.integers(0, days, (n, self.answers_each if self.spread == "days" else 1))
        return pd.DataFrame(
            {
                "student": np.repeat(np.arange(n), self.answers_each),
                "item": item.ravel(),
                "correct": (rng.random(item.shape) < expit(a[item] * (theta[:, None] - b[item]))).ravel(),
                "day": np.broadcast_to(day, item.shape).ravel(),
            }
        )

    def links(self, replications: int, seed: int, model: Model = "2PL") -> pd.DataFrame:
        """A, B, se_A, se_B, and whether any anchor is said to have drifted; the truth is A = 1, B = 0."""
        rng = np.random.default_rng(seed)
        rows = []
        for _ in range(replications):
            log = self.draw(rng, model)
            found = link_anchors(
                *calibrate_logs(log[log["day"] < WINDOW], log[log["day"] >= self.later], model=model), test_drift=False
            )
            # Whether Holm's procedure would reject any, where none moved.
            alarm = float((found.drift["p"].sort_values() * np.arange(self.items, 0, -1)).iloc[0] <= 0.05)
            line = found.line
            rows.append((line.A, line.B, line.se_A, line.se_B, alarm))
        return pd.DataFrame(rows, columns=["A", "B", "se_A", "se_B", "alarm"])


def linked_where_some_moved(
    replications: int, seed: int, *, anchors: int, moved: int, by: float, learners: int, answers_each: int
) -> pd.DataFrame:
    """Links of two cohorts of equal ability who answer some of the anchors each; `moved` of these become harder `by`.

    Columns A, B, se_A, se_B, plain_B (of the link without a test), found (moved anchors that were dropped) and alarms
    (others that were).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(replications):
        a, b = rng.lognormal(0.0, 0.3, anchors), rng.normal(0.0, 1.0, anchors)
        shift = np.where(rng.permutation(anchors) < moved, by, 0.0)
        logs = []
        for cohort, difficulty in enumerate((b, b + shift)):
            theta = rng.normal(0.0, 1.0, (learners, 1))
            item = np.argsort(rng.random((learners, anchors)), axis=1)[:, :answers_each]
            right = rng.random(item.shape) < expit(a[item] * (theta - difficulty[item]))
            student = np.repeat(np.arange(learners), answers_each)
            log = pd.DataFrame({"student": student, "item": item.ravel(), "correct": right.ravel()})
            logs.append(log.set_axis(log.index + cohort * len(log)))
        given = calibrate_logs(*logs)
        plain = link_anchors(*given, test_drift=False).line
        robust = link_anchors(*given)
        dropped = robust.drift.set_index("item_id")["drifted"].reindex(range(anchors), fill_value=False).to_numpy()
        line = robust.line
        rows.append(
            (line.A, line.B, line.se_A, line.se_B, plain.B, dropped[shift != 0].sum(), dropped[shift == 0].sum())
        )
    return pd.DataFrame(rows, columns=["A", "B", "se_A", "se_B", "plain_B", "found", "alarms"])


def linked_by_choice(replications: int, seed: int) -> pd.DataFrame:
    """Links of two cohorts by 20 tagged anchors, of which 6 became harder by 0.5, and by what is chosen of these and
    others: three items with 80 answers, and three that four of five abler learners misread.

    Columns tagged_B, chosen_B (errors of B), few, misread and sound (how many of the 3, 3 and 20 were chosen).
    """
    rng = np.random.default_rng(seed)
    sound, few, misread = np.arange(20), np.arange(20, 23), np.arange(23, 26)
    rows = []
    for _ in range(replications):
        a, b = rng.lognormal(0.0, 0.3, 26), rng.normal(0.0, 1.0, 26)
        shift = np.zeros(26)
        shift[rng.permutation(20)[:6]] = 0.5
        logs = []
        for cohort, difficulty in enumerate((b, b + shift)):
            theta = rng.normal(0.0, 1.0, 6_000)
            parts = [np.argsort(rng.random((6_000, 20)), axis=1)[:, :10].ravel()]
            students = [np.repeat(np.arange(6_000), 10)]
            for other, answers in ((few, 80), (misread, 1_500)):
                students += [rng.permutation(6_000)[:answers] for _ in other]
                parts += [np.full(answers, item) for item in other]
            student, item = np.concatenate(students), np.concatenate(parts)
            right = rng.random(len(item)) < expit(a[item] * (theta[student] - difficulty[item]))
            right &= ~(np.isin(item, misread) & (theta[student] > 0.5) & (rng.random(len(item)) < 0.8))
            log = pd.DataFrame({"student": student, "item": item, "correct": right})
            logs.append(log.set_axis(log.index + cohort * len(log)))
        new, new_scale, reference, scales = calibrate_logs(*logs)
        before, now = (Responses.from_long(log["student"], log["item"], log["correct"]) for log in logs)
        tests = curve_fit(before, reference, "2PL", (0.0, 1.0)).tests.rename(columns={"p_adjusted": "fit_p"})
        squares = item_fit(now, new, estimate_abilities(now, new)["theta"])[["item_id", "infit", "outfit"]]
        judged = reference.merge(tests[["item_id", "fit_p", "rmsd"]], on="item_id").merge(squares, on="item_id")
        judged = judged.assign(topic_id="t", drifted_on=None)
        found, anchors = [], pd.Series(dtype=int)
        for tagged in (sound, sound[:0]):
            anchors = _choose(new, judged, pd.Series(tagged), RunParams()).anchors
            own = reference[reference["item_id"].isin(anchors)]
            found.append(link_anchors(new, new_scale, own, scales).line.B)
        rows.append((*found, *(int(anchors.isin(kind).sum()) for kind in (few, misread, sound))))
    return pd.DataFrame(rows, columns=["tagged_B", "chosen_B", "few", "misread", "sound"])
