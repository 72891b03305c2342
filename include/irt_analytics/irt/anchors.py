r"""Links to the first published values of anchors: their errors, and the anchors that moved.

An item's parameters are in error for two reasons. Its own answers are a sample; and the learners are one, whose mean
and sd of theta are not those of the population that fixes the scale: that error, a line eps_B + eps_A * theta, is
common to all items of a calibration. With L_j the derivative of (a, b, c) of item j in that line, rows (0, -a), (1, b)
and (0, 0), the information of all items is nearly that of each by itself, D_j^-1, less what the learners' unknown theta
takes, which leaves for a line common to all the information C^-1 of mean and sd given the items. By Woodbury's identity
the covariance of the estimates then is

    D + L (C - T^-1) L',    T = sum of L_j' D_j^-1 L_j.

Where n_1 and n_2 answers of two calibrations to an item share m, their scores have a covariance of m answers'
information, and the estimates one of m / n_1 * D_2 = m / n_2 * D_1. Both estimate it; with their mean the difference
has the covariance D_1 * (1 - m / n_2) + D_2 * (1 - m / n_1). Lines are correlated where learners are the same, whatever
they answered: C_1 (sum of s_1 s_2') C_2 over the learners in both, s their scores in mean and log sd.

Drift: after the link every anchor has the Wald statistic of (a, b) against its reference (Lord, 1980, ch. 14, with the
errors of the link and of shared answers counted). The link starts from medians, which up to half of the anchors cannot
carry away, is found from the anchors that agree with it, and again, until those that Holm's (1979) procedure rejects
stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import chi2

from irt_analytics.irt.linking import Link, LinkMethod, link

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: Probability that any anchor of a sound set is called drifted.
FAMILY_ERROR = 0.05
#: Anchors that drift always leaves in the link.
LEAST_LEFT = 5
#: An anchor this far (p) from the line through the medians is not among those the search begins with.
START_LEVEL = 0.01
#: Variance of the median of normal values, times that of their mean.
MEDIAN_VARIANCE = np.pi / 2.0
#: Least share of independent answers: equal answers still give other estimates, for the learners' other answers differ.
LEAST_INDEPENDENT = 0.01
#: Share of both errors that the test of drift adds for that: a handful of new answers is not yet normal.
TEST_INDEPENDENT = 0.02
#: Rounds in which own and common errors are told apart.
ROUNDS = 4
COVARIANCES = ("cov_ab", "cov_ac", "cov_bc")
_PLACES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, eq=False)
class Cohort:
    """What a calibration's learners say of their mean and log sd, theta in units of z = (theta - mean) / sd.

    Attributes:
        moments: covariance of mean and log sd given the items, shape (2, 2).
        to_line: (eps_B, eps_A) by those, on the scale of mean and sd; shape (2, 2).
        influence: of every learner on mean and log sd, by id; `moments` is the sum of their squares.
    """

    moments: Floats
    to_line: Floats
    influence: pd.DataFrame

    @classmethod
    def of(cls, abilities: pd.DataFrame, mean: float, sd: float, *, fixed_unit: bool = False) -> Cohort:
        """From EAPs and posterior sds (student_id, theta, se) under N(mean, sd^2).

        The information is the sum of the squares of the learners' scores, z and z^2 + var(z) - 1 at posterior means.
        With `fixed_unit` (Rasch) the sd is the population's own and moves no item.
        """
        scores = _scores(abilities, mean, sd)
        moments = np.linalg.inv(scores.to_numpy().T @ scores.to_numpy())
        return cls(moments, line_of_moments(mean, sd, fixed_unit=fixed_unit), scores @ moments)

    @classmethod
    def of_groups(
        cls, abilities: pd.DataFrame, group: pd.Series[str], groups: pd.DataFrame, *, fixed_unit: bool = False
    ) -> Cohort:
        """Of learners in several groups, whose shares are known: their mean and sd are those of all together.

        Args:
            abilities: EAPs and posterior sds, each under its own group's N(mean, sd^2).
            group: of every learner, by student_id.
            groups: group, n_persons, mean, sd.
            fixed_unit: as in `of`.
        """
        share, means, sds = (groups[name].to_numpy(dtype=np.float64) for name in ("n_persons", "mean", "sd"))
        share = share / share.sum()
        mean = float(share @ means)
        sd = float(np.sqrt(share @ (sds**2 + (means - mean) ** 2)))
        moments, parts = np.zeros((2, 2)), []
        for name, weight, m, s in zip(groups["group"], share, means, sds, strict=True):
            scores = _scores(abilities[group.reindex(abilities["student_id"]).to_numpy() == name], m, s)
            own = np.linalg.inv(scores.to_numpy().T @ scores.to_numpy())
            # Of the mean (in units of z) and log sd of all, in those of this group.
            turn = weight * s / sd * np.array([[1.0, 0.0], [(m - mean) / sd, s / sd]])
            moments += turn @ own @ turn.T
            parts.append(scores @ (own @ turn.T))
        return cls(moments, line_of_moments(mean, sd, fixed_unit=fixed_unit), pd.concat(parts))

    @property
    def line(self) -> Floats:
        """Covariance of (eps_B, eps_A)."""
        covariance: Floats = self.to_line @ self.moments @ self.to_line.T
        return covariance

    def covariance_with(
        self, abilities: pd.DataFrame, mean: float, sd: float, moments: Floats, to_line: Floats
    ) -> Floats:
        """Covariance of this line with that of another calibration, from the abilities that it gave to its learners."""
        theirs = _scores(abilities, mean, sd)
        both = self.influence.index.intersection(theirs.index)
        products = self.influence.loc[both].to_numpy().T @ theirs.loc[both].to_numpy()
        covariance: Floats = self.to_line @ products @ moments @ to_line.T
        return covariance


@dataclass(frozen=True, eq=False)
class Scale:
    """Errors of a calibration that all of its items share, on the scale on which its items are given.

    Attributes:
        line: covariance of (eps_B, eps_A) that its learners leave; C above.
        common: what of it is common to its items; C - T^-1 above.
        scale: covariance of (eps_B, eps_A) of the scale itself: `common` where it set the scale, else what the links
            to it have left.
        in_items: whether the items' errors include `common` (full information) or not (block by block).
        with_new: covariance of the new calibration's line (rows) with this one's, where this one set the scale.
    """

    line: Floats
    common: Floats
    scale: Floats
    in_items: bool = True
    with_new: Floats | None = None

    @classmethod
    def exact(cls) -> Scale:
        """That of parameters that are taken as known."""
        nothing = np.zeros((2, 2))
        return cls(nothing, nothing, nothing)

    @classmethod
    def of(cls, items: pd.DataFrame, line: Floats, *, in_items: bool) -> Scale:
        """That of a calibration by itself, which sets the scale."""
        common = common_covariance(items, line, in_items=in_items)
        return cls(line, common, common, in_items)


@dataclass(frozen=True, eq=False)
class AnchoredLink:
    """A link, and how far every anchor lies from it.

    Attributes:
        line: the link, from the anchors that did not drift, with the errors of this module.
        drift: item_id, statistic, p, drifted; a row per anchor.
        scale: covariance of (eps_B, eps_A) of what is published on this line.
    """

    line: Link
    drift: pd.DataFrame
    scale: Floats


def line_of_moments(mean: float, sd: float, *, fixed_unit: bool = False) -> Floats:
    """Derivatives of (eps_B, eps_A) in mean and log sd of theta in units of z."""
    return np.array([[-sd, 0.0 if fixed_unit else mean], [0.0, 0.0 if fixed_unit else -1.0]])


def on_reference(line: Floats, link: Link) -> Floats:
    """A covariance of (eps_B, eps_A) on the scale that `link` leads to: A * eps_B - B * eps_A, eps_A."""
    turn = _turn(link)
    moved: Floats = turn @ line @ turn.T
    return moved


def common_covariance(items: pd.DataFrame, line: Floats, *, in_items: bool) -> Floats:
    """C - T^-1 of a calibration with the line C, from its items with their errors."""
    blocks, to_line = error_blocks(items), _to_line(_values(items))
    common = line
    for _ in range(ROUNDS):
        own = _own(blocks, to_line, common) if in_items else blocks
        values, vectors = np.linalg.eigh(line - np.linalg.pinv(_line_information(own, to_line)))
        common = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return common


def link_anchors(
    new: pd.DataFrame,
    new_scale: Scale,
    reference: pd.DataFrame,
    reference_scales: Mapping[date, Scale],
    *,
    method: LinkMethod = "stocking_lord",
    test_drift: bool = True,
) -> AnchoredLink:
    """Link a calibration to reference values that come from one or more earlier ones, and leave out what drifted.

    Args:
        new: item_id, a, b, c, se_a, se_b, se_c, cov_ab, cov_ac, cov_bc on its own scale.
        new_scale: what is common to them; `scale` is not read.
        reference: the same columns on the reference scale, and run (key of `reference_scales`), shared (share of the
            item's answers there that the new calibration has too) and shared_of_new (the reverse).
        reference_scales: what is common to the items of each run, on the reference scale.
        method: as `link`.
        test_drift: whether anchors may be left out.

    Raises:
        ValueError: the anchors do not determine a link.
    """
    line = link(new, reference, method=method)
    anchors = _Anchors(new, new_scale, reference, reference_scales, line)
    everyone = np.ones(len(line.anchors), dtype=bool)
    kept = everyone
    fitted = anchors.fit(line, kept)
    if test_drift and len(kept) > LEAST_LEFT:
        seen: list[bytes] = []
        core = anchors.core(fitted)
        while core.tobytes() not in seen:
            seen.append(core.tobytes())
            kept = core
            line = link(new, reference[reference["item_id"].isin(anchors.ids[kept])], method=method)
            fitted = anchors.fit(line, kept)
            core = ~_rejected(fitted.p, most=len(kept) - max(LEAST_LEFT, -(-len(kept) // 2)))
        if not (core == kept).all():
            # Two sets that lead to one another: an anchor in doubt carries no scale.
            kept &= core
            line = link(new, reference[reference["item_id"].isin(anchors.ids[kept])], method=method)
            fitted = anchors.fit(line, kept)
    drift = pd.DataFrame({"item_id": anchors.ids, "statistic": fitted.statistic, "p": fitted.p, "drifted": ~kept})
    moved = {
        item: f"drifted: statistic {statistic:.1f}, p = {p:.2g}"
        for item, statistic, p, gone in drift.itertuples(index=False)
        if gone
    }
    return AnchoredLink(replace(fitted.line, dropped={**line.dropped, **moved}), drift, fitted.scale)


def with_covariances(items: pd.DataFrame, blocks: Floats) -> pd.DataFrame:
    """`items` with columns cov_ab, cov_ac and cov_bc from covariances of (a, b, c), shape (n_items, 3, 3)."""
    pairs = zip(COVARIANCES, _PLACES[3:], strict=True)
    return items.assign(**{name: np.where(blocks[:, u, v] != 0.0, blocks[:, u, v], np.nan) for name, (u, v) in pairs})


def error_blocks(items: pd.DataFrame) -> Floats:
    """Covariance of (a, b, c) of every item, from se_ and cov_ columns; shape (n_items, 3, 3), 0 where fixed."""
    blocks = np.zeros((len(items), 3, 3))
    columns = [*("se_a", "se_b", "se_c"), *COVARIANCES]
    for (u, v), name in zip(_PLACES, columns, strict=True):
        values = np.nan_to_num(items[name].to_numpy(dtype=np.float64, na_value=np.nan))
        blocks[:, u, v] = blocks[:, v, u] = values**2 if u == v else values
    return blocks


@dataclass(frozen=True, eq=False)
class _Fitted:
    line: Link
    statistic: Floats
    p: Floats
    scale: Floats


class _Anchors:
    def __init__(
        self,
        new: pd.DataFrame,
        new_scale: Scale,
        reference: pd.DataFrame,
        reference_scales: Mapping[date, Scale],
        line: Link,
    ) -> None:
        self.ids = pd.Index(line.anchors)
        self._new = new.set_index("item_id").loc[self.ids]
        self._reference = reference.set_index("item_id").loc[self.ids]
        self._new_scale = new_scale
        self._runs = self._reference["run"].to_numpy()
        self._scales = {run: reference_scales[run] for run in sorted(set(self._runs))}
        self._values = _values(self._reference)
        self._own_reference = error_blocks(self._reference)
        to_line = _to_line(self._values)
        for run, scale in self._scales.items():
            own = self._runs == run
            if scale.in_items:
                self._own_reference[own] = _own(self._own_reference[own], to_line[own], scale.common)
        self._own_new = error_blocks(self._new)
        if new_scale.in_items:
            self._own_new = _own(self._own_new, _to_line(_values(self._new)), new_scale.common)
        self._free_slope = bool((self._own_new[:, 0, 0] > 0.0).any())

    def fit(self, line: Link, kept: Flags) -> _Fitted:
        """Errors of a link that rests on the anchors `kept`, and the statistics of all."""
        moved, to_line, own_new, shared_own, to_constants = self._on_line(line)
        own = own_new + self._own_reference - 2.0 * shared_own
        tested = own + TEST_INDEPENDENT * (own_new + self._own_reference)
        gradient = np.zeros((len(kept), 2, 3))
        if line.gradient is None:
            raise RuntimeError("the link carries no derivatives")
        gradient[kept] = line.gradient.transpose(2, 0, 1)
        noise = np.asarray(np.einsum("jku,juv,jlv->kl", gradient, own, gradient), dtype=np.float64)
        carried = np.einsum("jku,jul->jkl", gradient, to_line)
        everywhere = carried.sum(axis=0)
        reference, before = np.zeros((2, 2)), np.zeros((2, 2))
        for run, scale in self._scales.items():
            later = carried[self._runs >= run].sum(axis=0)
            reference += later @ (scale.scale - before) @ later.T
            before = scale.scale
        common = on_reference(self._new_scale.common, line)
        with_new = self._common_with_new(line, own_new, shared_own, to_line)
        both = np.asarray(everywhere @ (common - with_new - with_new.T) @ everywhere.T + reference)
        values, vectors = np.linalg.eigh(both)
        covariance = noise + (vectors * np.maximum(values, 0.0)) @ vectors.T
        back = np.asarray(np.linalg.inv(to_constants), dtype=np.float64)
        statistic, p = self._distances(moved, to_line, tested, back @ gradient, back @ noise @ back.T, kept)
        se_A, se_B = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        fixed = line.se_A == 0.0
        return _Fitted(
            replace(
                line,
                se_A=0.0 if fixed else float(se_A),
                se_B=float(se_B),
                cov_AB=0.0 if fixed else float(covariance[0, 1]),
            ),
            statistic,
            p,
            back @ (noise + reference) @ back.T,
        )

    def core(self, fitted: _Fitted) -> Flags:
        """The anchors near the line through the medians, at least half of all."""
        new, reference = _values(self._new), self._values
        A = float(np.exp(np.median(np.log(new[0] / reference[0]))))
        B = float(np.median(reference[1] - A * new[1]))
        line = replace(fitted.line, A=A, B=B)
        moved, to_line, own_new, shared_own, _ = self._on_line(line)
        own = own_new + self._own_reference - 2.0 * shared_own
        # The error of the mean of all, from their own errors, and what the median adds to it.
        spread = np.asarray(MEDIAN_VARIANCE * np.linalg.pinv(_line_information(own, to_line)), dtype=np.float64)
        nobody = np.zeros(len(own), dtype=bool)
        statistic, p = self._distances(moved, to_line, own, np.zeros((len(own), 2, 3)), spread, nobody)
        near = p >= START_LEVEL
        near[np.argsort(statistic, kind="stable")[: max(LEAST_LEFT, len(near) // 2 + 1)]] = True
        return near

    def _on_line(self, line: Link) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """On the reference scale: values, derivatives in a line, own errors, those shared; and (A, B) in a line."""
        scaling = np.array([1.0 / line.A, line.A, 1.0])
        moved = _values(self._new) * scaling[:, None] + np.array([0.0, line.B, 0.0])[:, None]
        own_new = self._own_new * scaling[:, None] * scaling
        shared, of_new = (
            np.clip(self._reference[name].to_numpy(dtype=np.float64), 0.0, 1.0 - LEAST_INDEPENDENT)[:, None, None]
            for name in ("shared", "shared_of_new")
        )
        shared_own = (shared * own_new + of_new * self._own_reference) / 2.0
        return moved, _to_line(self._values), own_new, shared_own, np.array([[0.0, line.A], [1.0, line.B]])

    def _common_with_new(self, line: Link, own_new: Floats, shared_own: Floats, to_line: Floats) -> Floats:
        """Covariance of the common errors of the new calibration and of the one that set the scale.

        Their lines' covariance, less what of it comes from the items' own errors.
        """
        first = next(iter(self._scales))
        scale = self._scales[first]
        if scale.with_new is None:
            return np.zeros((2, 2))
        own = self._runs == first
        on_line = np.linalg.pinv(own_new[own]) @ shared_own[own] @ np.linalg.pinv(self._own_reference[own])
        between = np.einsum("jul,juv,jvm->lm", to_line[own], on_line, to_line[own])
        tight_new = on_reference(self._new_scale.line - self._new_scale.common, line)
        with_new: Floats = _turn(line) @ scale.with_new - tight_new @ between @ (scale.line - scale.common)
        return with_new

    def _distances(
        self, moved: Floats, to_line: Floats, own: Floats, gradient: Floats, noise: Floats, kept: Flags
    ) -> tuple[Floats, Floats]:
        """Wald statistics of (a, b), and their p; `gradient` and `noise` are those of (eps_B, eps_A)."""
        carried = to_line @ gradient @ own
        later = np.array([self._scales[run].scale for run in self._runs]) - next(iter(self._scales.values())).scale
        covariance = own + to_line @ (noise + later) @ to_line.transpose(0, 2, 1)
        covariance -= np.where(kept[:, None, None], carried + carried.transpose(0, 2, 1), 0.0)
        free = [0, 1] if self._free_slope else [1]
        difference = (moved - self._values).T[:, free]
        inverse = np.linalg.pinv(covariance[np.ix_(range(len(own)), free, free)], hermitian=True)
        statistic: Floats = np.einsum("ju,juv,jv->j", difference, inverse, difference)
        statistic = np.maximum(statistic, 0.0)
        return statistic, chi2.sf(statistic, len(free))


def _turn(line: Link) -> Floats:
    return np.array([[line.A, -line.B], [0.0, 1.0]])


def _values(items: pd.DataFrame) -> Floats:
    """Rows a, b, c; shape (3, n_items)."""
    return np.array([items[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("a", "b", "c")])


def _to_line(values: Floats) -> Floats:
    """Derivatives of (a, b, c) in (eps_B, eps_A), shape (n_items, 3, 2)."""
    a, b, _ = values
    derivative = np.zeros((len(a), 3, 2))
    derivative[:, 1, 0] = 1.0
    derivative[:, 0, 1] = -a
    derivative[:, 1, 1] = b
    return derivative


def _scores(abilities: pd.DataFrame, mean: float, sd: float) -> pd.DataFrame:
    z, variance = (abilities["theta"] - mean) / sd, (abilities["se"] / sd) ** 2
    return pd.DataFrame({"mean": z, "log_sd": z**2 + variance - 1.0}).set_axis(abilities["student_id"])


def _line_information(own: Floats, to_line: Floats) -> Floats:
    """Information on a line in items whose errors are `own`."""
    information: Floats = np.einsum("jul,juv,jvm->lm", to_line, np.linalg.pinv(own, hermitian=True), to_line)
    return information


def _own(blocks: Floats, to_line: Floats, cohort: Floats) -> Floats:
    """What of the items' errors is not common, kept positive semidefinite."""
    estimated = np.einsum("juu->ju", blocks) > 0.0
    common = to_line @ cohort @ to_line.transpose(0, 2, 1) * (estimated[:, :, None] & estimated[:, None, :])
    values, vectors = np.linalg.eigh(blocks - common)
    # An item cannot have told more than all but the common error; rounding and 0.1 % of its variance stay.
    floor = 1e-3 * np.einsum("juu->j", blocks)[:, None] * (values != 0.0)
    own: Floats = vectors * np.maximum(values, floor)[:, None, :] @ vectors.transpose(0, 2, 1)
    return np.where(estimated[:, :, None] & estimated[:, None, :], own, 0.0)


def _rejected(p: Floats, most: int) -> Flags:
    """Holm's (1979) procedure at `FAMILY_ERROR`, for the `most` smallest p at the most."""
    order = np.argsort(p, kind="stable")
    sound = p[order] > FAMILY_ERROR / (len(p) - np.arange(len(p)))
    count = min(int(np.argmax(sound)) if sound.any() else len(p), most)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[:count]] = True
    return rejected
