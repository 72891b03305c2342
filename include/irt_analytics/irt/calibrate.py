"""Calibration of items by marginal maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import logit

from irt_analytics.irt._em import Estimation, Latent, Parameterisation
from irt_analytics.irt._information import FULL_INFORMATION_ITEMS, ErrorCovariance, ErrorMethod, error_covariance
from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import responses as kernels
from irt_analytics.irt._posterior import Blocks
from irt_analytics.irt._stages import maximise
from irt_analytics.irt._text import quoted
from irt_analytics.irt._workers import Workers, workers
from irt_analytics.irt.priors import NO_PRIORS, WEAK_PRIORS, Priors
from irt_analytics.irt.quadrature import Quadrature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Progress = Callable[[int, float, float], None]

Model = Literal["Rasch", "2PL", "3PL"]

_START_ASYMPTOTE = 0.15


@dataclass(frozen=True)
class Exclusion:
    """Items or learners that do not take part in a calibration.

    Attributes:
        reason: why, in words.
        count: how many.
        ids: their ids, where they are items.
    """

    reason: str
    count: int
    ids: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Calibration:
    """Item parameters, the latent distribution and what they rest on.

    Attributes:
        items: one row per item in the order of the ids: item_id, a, b, c, se_a, se_b, se_c (NaN for a parameter that
            is fixed), n_responses, p_value (share of right answers). `items.attrs` carries the model, latent_mean and
            latent_sd, which `estimate_abilities` takes as its prior.
        model: "Rasch", "2PL" or "3PL".
        priors: priors of the estimated item parameters, on the scale of this calibration.
        priors_of_few: those of the items with fewer answers than `weak_below`.
        weak_unit: unit of the slopes that the weak priors are meant for; see `calibrate`.
        quadrature: grid of abilities at the end.
        log_likelihood: marginal log-likelihood of the answers in nats, without the density of the priors.
        converged: whether the distance to the maximum fell under the tolerance.
        iterations: E-steps taken.
        groups: one row per group, the reference group first: group, n_persons, mean and sd of theta, se_mean, se_sd
            (NaN where fixed).
        latent_mean: mean of theta over all learners.
        latent_sd: their sd.
        n_persons: learners with at least one answer that counts.
        n_items: items in `items`.
        n_responses: answers that count.
        n_parameters: estimated parameters.
        exclusions: what was left out, and why.
        se_method: "full" (observed information of all parameters together, Louis, 1982, which is R mirt's
            SE.type = "Oakes"), "block_diagonal" (each item's by itself: more than 1,000 items), or "none" (not asked
            for, or the information is not positive definite).
    """

    items: pd.DataFrame
    model: Model
    priors: Priors
    priors_of_few: Priors
    weak_unit: float
    quadrature: Quadrature
    log_likelihood: float
    converged: bool
    iterations: int
    groups: pd.DataFrame
    latent_mean: float
    latent_sd: float
    n_persons: int
    n_items: int
    n_responses: int
    n_parameters: int
    exclusions: tuple[Exclusion, ...]
    se_method: ErrorMethod
    _errors: ErrorCovariance | None = field(repr=False)
    _item_ids: pd.Index[Any] = field(repr=False)

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * self.n_parameters - 2.0 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's Bayesian information criterion, n being the learners."""
        return float(np.log(self.n_persons)) * self.n_parameters - 2.0 * self.log_likelihood

    @property
    def error_blocks(self) -> Floats:
        """Covariance of (a, b, c) of every item of `items`, shape (n_items, 3, 3); 0 where not estimated or unknown."""
        if self._errors is None or self.se_method == "none":
            return np.zeros((len(self.items), 3, 3))
        return self._errors.blocks(self._item_ids.get_indexer(pd.Index(self.items["item_id"])))

    @property
    def covariance(self) -> pd.DataFrame:
        """Covariance matrix of all estimated item parameters; see `covariance_of`.

        Raises:
            ValueError: there are more than 1,000 items; ask for those needed.
        """
        if len(self.items) > FULL_INFORMATION_ITEMS:
            raise ValueError(
                f"the covariance of {len(self.items):,} items is too large to hand over whole; "
                "use covariance_of(item_ids)"
            )
        return self.covariance_of(self.items["item_id"])

    @property
    def latent_covariance(self) -> Floats:
        """Covariance of `latent_mean` and the log of `latent_sd`, 0 where fixed, NaN where unknown; shape (2, 2)."""
        if self._errors is None:
            return np.full((2, 2), np.nan)
        share, mean, sd = (self.groups[name].to_numpy(dtype=np.float64) for name in ("n_persons", "mean", "sd"))
        return self._errors.of_population(mean, sd, share / share.sum())

    def standardised(self) -> Calibration:
        r"""The same calibration with theta in units of all its learners: mean 0 and, where slopes are estimated, sd 1.

        With several groups the scale is the reference group's. With mean M and sd S over all learners, a' = a * S and
        b' = (b - M) / S; the errors count that M and S are estimated, the groups' shares being known.
        """
        unit = self.model != "Rasch"
        at, scale = self.latent_mean, self.latent_sd if unit else 1.0
        if at == 0.0 and scale == 1.0:
            return self
        groups, errors = self.groups, self._errors
        mean, sd = (groups[name].to_numpy(dtype=np.float64) for name in ("mean", "sd"))
        where = self._item_ids.get_indexer(pd.Index(self.items["item_id"]))
        items = self.items.assign(a=self.items["a"] * scale, b=(self.items["b"] - at) / scale)
        groups = groups.assign(mean=(mean - at) / scale, sd=sd / scale)
        if errors is not None:
            a, b = np.ones(len(self._item_ids)), np.zeros(len(self._item_ids))
            a[where], b[where] = self.items["a"], self.items["b"]
            share = (groups["n_persons"] / groups["n_persons"].sum()).to_numpy(dtype=np.float64)
            errors = errors.standardised(a, b, mean, sd, share, unit)
            items[["se_a", "se_b", "se_c"]] = errors.standard_errors()[where]
            groups[["se_mean", "se_sd"]] = errors.group_errors(sd / scale)
        items.attrs = self.items.attrs | {"latent_mean": 0.0, "latent_sd": self.latent_sd / scale}
        nodes = self.quadrature
        return replace(
            self,
            items=items,
            priors=self.priors.on_unit(scale),
            priors_of_few=self.priors_of_few.on_unit(scale),
            weak_unit=self.weak_unit * scale,
            quadrature=Quadrature(nodes.n_nodes, (nodes.lower - at) / scale, (nodes.upper - at) / scale),
            groups=groups,
            latent_mean=0.0,
            latent_sd=self.latent_sd / scale,
            _errors=errors,
        )

    def covariance_of(self, item_ids: Iterable[Any]) -> pd.DataFrame:
        """Covariance matrix of the estimated parameters of the given items.

        Its index and columns are pairs (item_id, "a" | "b" | "c"); a fixed parameter is not in it. Where `se_method`
        is "block_diagonal" the items are uncorrelated.

        Raises:
            KeyError: an item that was not calibrated.
            ValueError: the calibration has no standard errors.
        """
        if self._errors is None or self.se_method == "none":
            raise ValueError("the calibration has no standard errors")
        ids = pd.Index(list(item_ids))
        unknown = ~ids.isin(self.items["item_id"])
        if unknown.any():
            raise KeyError(ids[unknown][0])
        where = self._item_ids.get_indexer(ids)
        matrix, rows = self._errors.between(where)
        names = [(item, "abc"[u]) for item, own in zip(ids, rows, strict=True) for u in range(3) if own[u]]
        index = pd.MultiIndex.from_tuples(names, names=["item_id", "parameter"])
        return pd.DataFrame(matrix, index=index, columns=index)


def calibrate(
    responses: Responses,
    model: Model = "2PL",
    *,
    priors: Priors | Literal["weak"] | None = None,
    weak_below: int = 0,
    weak_unit: float | Literal["estimated"] | None = None,
    fixed: pd.DataFrame | None = None,
    group: Mapping[Any, Any] | pd.Series[Any] | ArrayLike | None = None,
    latent: tuple[float, float] | None = None,
    quadrature: Quadrature | int = 61,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
    standard_errors: bool = True,
    progress: Progress | None = None,
) -> Calibration:
    r"""Estimate item parameters by marginal maximum likelihood (Bock and Aitkin, 1981).

    The scale is set by theta ~ N(0, 1) in the reference group (2PL, 3PL), by a = 1 and mean 0 there (Rasch), or by the
    fixed items, whose presence frees every mean and sd. An item that every learner got right, or wrong, has no finite
    estimate and is excluded, unless `priors` has one for d; so is an item whose estimate runs away for another reason.

    Args:
        responses: the answers.
        model: "Rasch" (a = 1, variance of theta free), "2PL" or "3PL".
        priors: None (maximum likelihood), "weak" (a ~ lognormal(0, 0.5), in the 3PL c ~ beta(5, 17)), or `Priors`.
        weak_below: where `priors` is None, items with fewer answers than this have the weak ones all the same.
        weak_unit: unit of the slopes that the weak priors are meant for, a / weak_unit ~ lognormal(0, 0.5). Default:
            where `priors` is "weak" and the calibration sets its own scale (neither `fixed` nor `latent`), it is
            estimated with the slopes, as BILOG's FLOAT option estimates the prior's mean: slopes are then drawn
            together and not, all of them, to a number, which would stretch the unit of theta. "estimated" does so
            where `latent` says on which of all scales. Else 1.
        fixed: items that keep their parameters to the last digit: item_id, a, b and, optionally, c.
        group: group of every learner, as a mapping or series from student_id, or as an array in the order of
            `responses.student_ids`. Each group has its own mean and sd of theta; the first in sorted order is the
            reference group.
        latent: mean and sd of theta in the reference group, which are then not estimated. Default: as above.
        quadrature: grid of abilities, or the number of its nodes on [-6, 6]. It is extended, at the same spacing,
            where a group turns out to reach beyond it.
        tolerance: estimated distance to the maximum at which the iteration ends, the largest over a, d = -a * b, c,
            and the means and log sds of theta.
        max_iterations: E-steps after which it ends without having converged.
        standard_errors: whether to compute them; they take about as long as a few E-steps.
        progress: called after every E-step or two with their number, the (penalised) log-likelihood and the largest
            change. The first iterations on large data see a sample of the learners, and their log-likelihood is that
            of the sample.

    Raises:
        ValueError: there is nothing to calibrate, or an argument is out of range; the message names it.
    """
    _check(responses, model, latent, tolerance, max_iterations)
    own_scale = fixed is None and latent is None
    floating = priors == "weak" and (weak_unit == "estimated" or (weak_unit is None and own_scale))
    known_unit = weak_unit if isinstance(weak_unit, int | float) else None
    weak = WEAK_PRIORS.on_unit(1.0 if known_unit is None else known_unit)
    chosen_priors = _as_priors(priors, weak, model)
    grid = quadrature if isinstance(quadrature, Quadrature) else Quadrature(quadrature)
    names, group_index = as_groups(group, responses.student_ids)
    counts = responses.item_counts()
    priors_of_few = _as_priors("weak", weak, model) if priors is None else chosen_priors
    few = counts.sum(axis=1) < weak_below
    priors_by_item = np.where(few[:, None], priors_of_few.as_vector(), chosen_priors.as_vector())
    with workers() as run:
        blocks = Blocks(responses, group_index, len(names), run)
        estimation, extreme = _prepare(responses, counts, model, priors_by_item, floating, fixed, latent, blocks, run)
        end = maximise(
            estimation, grid, tolerance=tolerance, max_iterations=max_iterations, progress=progress or (lambda *_: None)
        )
        errors = error_covariance(estimation, end.quadrature, run) if standard_errors else None
    active = estimation.items.active
    unit = float(np.exp(estimation.parameterisation.log_unit(estimation.items.a)))
    frame = _item_frame(responses.item_ids, estimation.items, errors, counts, fixed)
    informed = kernels.find_informed(responses.indptr, responses.answers, active)
    groups = _group_frame(names, group_index[informed], estimation.latent, errors)
    n_persons = int(informed.sum())
    latent_mean, latent_sd = _mixture(groups)
    frame.attrs = {"model": model, "latent_mean": latent_mean, "latent_sd": latent_sd}
    return Calibration(
        items=frame,
        model=model,
        priors=chosen_priors.on_unit(unit),
        priors_of_few=priors_of_few.on_unit(unit),
        weak_unit=unit if known_unit is None else known_unit,
        quadrature=end.quadrature,
        log_likelihood=estimation.expectation.log_likelihood,
        converged=end.converged,
        iterations=end.iterations,
        groups=groups,
        latent_mean=latent_mean,
        latent_sd=latent_sd,
        n_persons=n_persons,
        n_items=len(frame),
        n_responses=int(counts[active].sum()),
        n_parameters=estimation.parameterisation.n_parameters,
        exclusions=_exclusions(responses, counts, extreme, end.runaway, n_persons, fixed),
        se_method="none" if errors is None else errors.method,
        _errors=errors,
        _item_ids=responses.item_ids,
    )


def _prepare(
    responses: Responses,
    counts: NDArray[np.int64],
    model: Model,
    priors: Floats,
    floating: bool,
    fixed: pd.DataFrame | None,
    latent: tuple[float, float] | None,
    blocks: Blocks,
    run: Workers,
) -> tuple[Estimation, Flags]:
    """Starting values of what is to be estimated; and the items that are left out, having no finite estimate."""
    mean, sd = (0.0, 1.0) if latent is None else latent
    start, is_fixed = _start(counts, fixed, responses.item_ids, mean, 1.0 if model == "Rasch" else 1.0 / sd)
    free = np.array([model != "Rasch", True, model == "3PL"])
    if free[2]:
        start.g[~is_fixed] = logit(_START_ASYMPTOTE)
    has_fixed = bool(is_fixed.any())
    free_mean = np.ones(blocks.n_groups, dtype=bool)
    free_sd = np.ones(blocks.n_groups, dtype=bool)
    free_mean[0] = latent is None and has_fixed
    free_sd[0] = latent is None and (has_fixed or model == "Rasch")
    population = Latent(np.full(blocks.n_groups, float(mean)), np.full(blocks.n_groups, float(sd)))
    parameterisation = Parameterisation(free, ~is_fixed, free_mean, free_sd, priors, floating)
    estimation = Estimation(blocks, start, population, parameterisation, run)
    without_prior_of_d = np.isnan(priors[:, 2])
    extreme = (counts.min(axis=1) == 0) & ~is_fixed & without_prior_of_d
    estimation.exclude(extreme)
    _refuse_empty(estimation, responses, is_fixed)
    return estimation, extreme


def _check(
    responses: Responses, model: str, latent: tuple[float, float] | None, tolerance: float, max_iterations: int
) -> None:
    if model not in get_args(Model):
        raise ValueError(f"model must be one of {', '.join(get_args(Model))}, got {model!r}")
    if latent is not None and not (np.isfinite(latent).all() and latent[1] > 0.0):
        raise ValueError(f"latent must be a finite mean and a positive sd, got {latent}")
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance}")
    if max_iterations < 2:
        raise ValueError(f"max_iterations must be at least 2, got {max_iterations}")
    if responses.n_responses == 0:
        raise ValueError("there are no answers to calibrate")


def _as_priors(priors: Priors | Literal["weak"] | None, weak: Priors, model: Model) -> Priors:
    """The priors of the parameters that the model estimates."""
    if priors is None:
        return NO_PRIORS
    if isinstance(priors, Priors):
        chosen = priors
    elif priors == "weak":
        chosen = weak
    else:
        raise ValueError(f"priors must be None, 'weak' or Priors, got {priors!r}")
    if model == "3PL":
        return chosen
    return replace(chosen, a=None if model == "Rasch" else chosen.a, c=None, logit_c=None)


def as_groups(group: Any, student_ids: pd.Index[Any]) -> tuple[pd.Index[Any], NDArray[np.int32]]:
    """The groups in sorted order, and the position of every learner's among them."""
    if group is None:
        return pd.Index(["all"]), np.zeros(len(student_ids), dtype=np.int32)
    if isinstance(group, Mapping):
        group = pd.Series(group)
    if isinstance(group, pd.Series):
        absent = student_ids.difference(group.index)
        if len(absent):
            raise ValueError(f"group has no entry for {len(absent):,} learners, such as {quoted(absent[0])}")
        group = group.reindex(student_ids)
    labels = pd.Series(group)
    if len(labels) != len(student_ids):
        raise ValueError(f"group has {len(labels):,} entries for {len(student_ids):,} learners")
    codes, names = pd.factorize(labels, sort=True)
    if len(codes) and codes.min() < 0:
        raise ValueError(f"group is missing for learner {quoted(student_ids[int(np.argmin(codes))])}")
    return pd.Index(names), codes.astype(np.int32)


def _start(
    counts: NDArray[np.int64], fixed: pd.DataFrame | None, item_ids: pd.Index[Any], mean: float, slope: float
) -> tuple[ItemParameters, Flags]:
    """Starting values, equal slopes and d from the share of right answers, and which items are fixed."""
    right = (counts[:, 1] + 0.5) / (counts.sum(axis=1) + 1.0)
    n = len(item_ids)
    # The marginal logit of a logistic curve over N(0, 1) is flatter by about this factor.
    intercept = 1.2 * logit(right) - slope * mean
    start = ItemParameters(np.full(n, slope), intercept, np.full(n, -np.inf), np.ones(n, dtype=bool))
    if fixed is None:
        return start, np.zeros(n, dtype=bool)
    given = ItemParameters.from_frame(fixed, item_ids, "fixed")
    for own, theirs in ((start.a, given.a), (start.d, given.d), (start.g, given.g)):
        own[given.active] = theirs[given.active]
    return start, given.active


def _refuse_empty(estimation: Estimation, responses: Responses, is_fixed: Flags) -> None:
    if not estimation.items.active.any():
        raise ValueError(
            f"none of the {responses.n_items:,} items has both right and wrong answers; there is nothing to estimate"
        )
    rows = np.diff(responses.indptr)
    if rows.max() < 2 and not is_fixed.any():
        raise ValueError(
            f"no learner answered more than one of the {responses.n_items:,} items; abilities and items cannot be "
            "told apart"
        )


def _item_frame(
    item_ids: pd.Index[Any],
    items: ItemParameters,
    errors: ErrorCovariance | None,
    counts: NDArray[np.int64],
    fixed: pd.DataFrame | None,
) -> pd.DataFrame:
    se = np.full((len(item_ids), 3), np.nan) if errors is None else errors.standard_errors()
    with np.errstate(divide="ignore", invalid="ignore"):
        b = -items.d / items.a
    n_responses = counts.sum(axis=1)
    frame = pd.DataFrame(
        {
            "item_id": item_ids,
            "a": items.a,
            "b": b,
            "c": items.c,
            "se_a": se[:, 0],
            "se_b": se[:, 1],
            "se_c": se[:, 2],
            "n_responses": n_responses,
            "p_value": counts[:, 1] / n_responses,
        }
    )
    if fixed is not None:
        given = fixed.set_index("item_id").reindex(item_ids)
        is_fixed = item_ids.isin(fixed["item_id"])
        for column in ("a", "b", "c"):
            if column in given:
                frame.loc[is_fixed, column] = given[column].to_numpy()[is_fixed]
    return frame[items.active].reset_index(drop=True)


def _group_frame(
    names: pd.Index[Any], group_index: NDArray[np.int32], latent: Latent, errors: ErrorCovariance | None
) -> pd.DataFrame:
    n_persons = np.bincount(group_index, minlength=len(names))
    se = np.full((len(names), 2), np.nan) if errors is None else errors.group_errors(latent.sd)
    columns = {"mean": latent.mean, "sd": latent.sd, "se_mean": se[:, 0], "se_sd": se[:, 1]}
    return pd.DataFrame({"group": names, "n_persons": n_persons, **columns})


def _mixture(groups: pd.DataFrame) -> tuple[float, float]:
    """Mean and sd of theta over all learners."""
    if len(groups) == 1:
        return float(groups["mean"].iloc[0]), float(groups["sd"].iloc[0])
    share = groups["n_persons"] / groups["n_persons"].sum()
    mean = float((share * groups["mean"]).sum())
    return mean, float(np.sqrt((share * (groups["sd"] ** 2 + (groups["mean"] - mean) ** 2)).sum()))


def _exclusions(
    responses: Responses,
    counts: NDArray[np.int64],
    extreme: Flags,
    runaway: Flags,
    n_persons: int,
    fixed: pd.DataFrame | None,
) -> tuple[Exclusion, ...]:
    unanswered = [] if fixed is None else [item for item in fixed["item_id"] if item not in responses.item_ids]
    everybody = [
        ("every answer to the item is right", extreme & (counts[:, 0] == 0)),
        ("every answer to the item is wrong", extreme & (counts[:, 1] == 0)),
        ("the item's parameters have no finite estimate", runaway),
    ]
    exclusions = [
        Exclusion(reason, int(which.sum()), tuple(responses.item_ids[which]))
        for reason, which in everybody
        if which.any()
    ]
    if unanswered:
        exclusions.append(Exclusion("the fixed item has no answers", len(unanswered), tuple(unanswered)))
    if n_persons < responses.n_students:
        exclusions.append(Exclusion("the learner answered excluded items only", responses.n_students - n_persons))
    return tuple(exclusions)
