"""Marginal maximum likelihood (or maximum a posteriori) by the EM algorithm of Bock and Aitkin (1981)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from irt_analytics.irt._anderson import FixedPoint, anderson
from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import model as kernels
from irt_analytics.irt._posterior import normal_log_weights
from irt_analytics.irt._workers import Workers, split_evenly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from irt_analytics.irt._posterior import Blocks, Expectation

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

# Least and greatest a, d and logit of c. An estimate at a limit of a or d has none of its own: the likelihood rises
# without end. A logit of -20 is a lower asymptote of 2e-9.
BOUNDS = np.array([[-10.0, 10.0], [-30.0, 30.0], [-20.0, 3.0]])
# An estimate this near to a limit of a or d is at it: the iteration ends before it is there to the last bit.
_AT_BOUND = 1e-2
# Where a prior keeps slopes positive, an extrapolation does not go below this.
LEAST_POSITIVE_SLOPE = 1e-3
SD_BOUNDS = (0.01, 10.0)
# The grid must reach this many sds beyond the mean of every group.
REACH = 5.0


@dataclass(frozen=True)
class Latent:
    """Normal distribution of theta by group: means and sds, each of shape (n_groups,)."""

    mean: Floats
    sd: Floats

    @property
    def reach(self) -> tuple[float, float]:
        """The abilities that a grid must cover."""
        margin = REACH * self.sd
        return float((self.mean - margin).min()), float((self.mean + margin).max())


@dataclass(frozen=True)
class Parameterisation:
    """What is estimated.

    Attributes:
        free: which of a, d, g the model estimates, shape (3,).
        estimated: which items are estimated rather than fixed, shape (n_items,).
        free_mean: which groups' means are, shape (n_groups,).
        free_sd: which groups' sds are.
        priors: of every item, as `Priors.as_vector` gives them, shape (n_items, 8).
        floating: whether the unit of the slopes that the priors of a are meant for is estimated with the slopes.
    """

    free: Flags
    estimated: Flags
    free_mean: Flags
    free_sd: Flags
    priors: Floats
    floating: bool = False

    def log_unit(self, slopes: Floats) -> float:
        """Log of the unit at which the priors of a as a whole pull these slopes neither up nor down (0: not floating).

        It maximises the density of a / unit under the priors; the likelihood does not depend on it.
        """
        own = self.estimated & ~np.isnan(self.priors[:, 0])
        if not (self.floating and self.free[0] and own.any()):
            return 0.0
        precision = self.priors[own, 1] ** -2.0
        return float((precision * (np.log(slopes[own]) - self.priors[own, 0]) + 1.0).sum() / precision.sum())

    def priors_at(self, slopes: Floats) -> Floats:
        """`priors` on the unit of these slopes."""
        shift = self.log_unit(slopes)
        if not shift:
            return self.priors
        moved = self.priors.copy()
        moved[:, 0] += shift
        return moved

    @property
    def n_parameters(self) -> int:
        """Number of estimated parameters."""
        return int(self.free.sum() * self.estimated.sum() + self.free_mean.sum() + self.free_sd.sum())

    def pack(self, items: ItemParameters, latent: Latent) -> Floats:
        """All estimated parameters in one vector: slopes, intercepts, logits of c, means, logs of sds."""
        parts = [x[self.estimated] for x, free in zip((items.a, items.d, items.g), self.free, strict=True) if free]
        return np.concatenate([*parts, latent.mean[self.free_mean], np.log(latent.sd[self.free_sd])])

    def unpack(self, x: Floats, items: ItemParameters, latent: Latent) -> tuple[ItemParameters, Latent]:
        """The parameters with the estimated ones replaced by those of the vector."""
        arrays = [items.a.copy(), items.d.copy(), items.g.copy()]
        mean, sd = latent.mean.copy(), latent.sd.copy()
        n, at = int(self.estimated.sum()), 0
        for values, free in zip(arrays, self.free, strict=True):
            if free:
                values[self.estimated] = x[at : at + n]
                at += n
        n_means = int(self.free_mean.sum())
        mean[self.free_mean] = x[at : at + n_means]
        sd[self.free_sd] = np.exp(x[at + n_means :])
        return replace(items, a=arrays[0], d=arrays[1], g=arrays[2]), Latent(mean, sd)

    def project(self, x: Floats) -> Floats:
        """A point nearby whose parameters are within their bounds; a slope cut down keeps its item's difficulty."""
        n = int(self.estimated.sum())
        if self.free[0] and self.free[1]:
            x = x.copy()
            x[n : 2 * n] *= np.minimum(1.0, BOUNDS[0, 1] / np.maximum(np.abs(x[:n]), 1.0))
        lower, upper = (np.repeat(side[self.free], n) for side in BOUNDS.T)
        if self.free[0]:
            has_prior = ~np.isnan(self.priors[self.estimated, 0])
            lower[:n][has_prior] = LEAST_POSITIVE_SLOPE
        n_means, n_sds = int(self.free_mean.sum()), int(self.free_sd.sum())
        lower = np.concatenate([lower, np.full(n_means, -np.inf), np.full(n_sds, np.log(SD_BOUNDS[0]))])
        upper = np.concatenate([upper, np.full(n_means, np.inf), np.full(n_sds, np.log(SD_BOUNDS[1]))])
        return np.clip(x, lower, upper)

    def distance(self, x: Floats, y: Floats) -> float:
        """Largest difference in a, d, c, a mean or the log of an sd."""
        if not len(x):
            return 0.0
        difference = np.abs(x - y)
        if self.free[2]:
            n = int(self.estimated.sum())
            at = slice(int(self.free[:2].sum()) * n, int(self.free.sum()) * n)
            difference[at] = np.abs(expit(x[at]) - expit(y[at]))
        return float(difference.max())


class Estimation:
    """EM steps for one set of answers."""

    def __init__(
        self, blocks: Blocks, items: ItemParameters, latent: Latent, parameterisation: Parameterisation, run: Workers
    ) -> None:
        self.blocks = blocks
        self.items = items
        self.latent = latent
        self.parameterisation = parameterisation
        self._run = run
        self._expectation: Expectation | None = None
        self._bounds = BOUNDS.copy()
        self._n_items = len(items.a)

    def maximise(
        self,
        theta: Floats,
        *,
        tolerance: float,
        max_evaluations: int,
        report: Callable[[int, float, float], None],
        blocks: NDArray[np.int64] | None = None,
    ) -> FixedPoint:
        """Go from the current parameters to the maximum over the grid `theta` and stay there.

        It ends early where a group comes to reach beyond the grid: a normal density cut off there has other moments
        than those by which the M-step estimates it.
        """
        parameters = self.parameterisation

        def beyond(x: Floats) -> bool:
            lower, upper = parameters.unpack(x, self.items, self.latent)[1].reach
            return bool(lower < theta[0] or upper > theta[-1])

        def step(x: Floats) -> tuple[Floats, float]:
            items, latent = parameters.unpack(x, self.items, self.latent)
            moved, value = self._em_step(items, latent, theta, blocks)
            return parameters.pack(*moved), value

        end = anderson(
            step,
            parameters.pack(self.items, self.latent),
            tolerance=tolerance,
            max_evaluations=max_evaluations,
            project=parameters.project,
            distance=parameters.distance,
            report=report,
            leave=beyond,
        )
        self.items, self.latent = parameters.unpack(end.x, self.items, self.latent)
        return end

    @property
    def expectation(self) -> Expectation:
        """E-step at the current parameters, which `maximise` leaves behind."""
        if self._expectation is None:
            raise RuntimeError("there has been no E-step")
        return self._expectation

    @property
    def linked_by_common_items(self) -> bool:
        """Whether nothing but the items that groups share puts them on one scale, with slopes to estimate."""
        parameters = self.parameterisation
        none_is_fixed = not (self.items.active & ~parameters.estimated).any()
        return len(self.latent.mean) > 1 and bool(parameters.free[0]) and none_is_fixed

    @contextmanager
    def equal_slopes(self) -> Iterator[None]:
        """Within the block slopes stay as they are and every sd is free; then the first group's sd is what it was."""
        parameters = self.parameterisation
        intercepts_only = np.array([False, True, False])
        everywhere = np.ones_like(parameters.free_sd)
        self.parameterisation = replace(parameters, free=intercepts_only, free_sd=everywhere)
        sd = self.latent.sd[0]
        yield
        self.parameterisation = parameters
        unit, origin = self.latent.sd[0] / sd, self.latent.mean[0]
        self.items = replace(self.items, a=self.items.a * unit, d=self.items.d + self.items.a * origin * (1.0 - unit))
        self.latent = Latent(origin + (self.latent.mean - origin) / unit, self.latent.sd / unit)

    def exclude(self, items: Flags) -> None:
        """Take items out: their answers no longer count and they are not estimated."""
        self.items = self.items.without(items)
        self.parameterisation = replace(self.parameterisation, estimated=self.parameterisation.estimated & ~items)

    def without_finite_estimate(self) -> Flags:
        """Items whose slope or intercept has reached its bound."""
        at_bound = np.zeros(self._n_items, dtype=bool)
        for index, values in enumerate((self.items.a, self.items.d)):
            if self.parameterisation.free[index]:
                lower, upper = BOUNDS[index]
                at_bound |= (values <= lower + _AT_BOUND) | (values >= upper - _AT_BOUND)
        return at_bound & self.parameterisation.estimated

    def log_prior(self, items: ItemParameters, priors: Floats) -> float:
        """Log-density of the estimated items (slopes in their unit) under these priors, up to a constant."""
        parameters = self.parameterisation
        free, estimated = parameters.free, parameters.estimated
        of_unit = parameters.log_unit(items.a) * int((estimated & ~np.isnan(priors[:, 0])).sum())
        return kernels.total_log_prior(items.a, items.d, items.g, priors, free, estimated) + of_unit

    def _em_step(
        self, items: ItemParameters, latent: Latent, theta: Floats, blocks: NDArray[np.int64] | None
    ) -> tuple[tuple[ItemParameters, Latent], float]:
        """The next parameters, and the penalised log-likelihood of the given ones."""
        parameters = self.parameterisation
        log_prior = normal_log_weights(theta, latent.mean, latent.sd)
        self._expectation = expectation = self.blocks.expectation(items, theta, log_prior, blocks)
        priors = parameters.priors_at(items.a)
        value = expectation.log_likelihood + self.log_prior(items, priors)
        moved = replace(items, a=items.a.copy(), d=items.d.copy(), g=items.g.copy())
        self._run(
            kernels.maximise_items,
            split_evenly(np.arange(self._n_items + 1), self._run.threads),
            expectation.counts,
            theta,
            parameters.free,
            parameters.estimated,
            priors,
            self._bounds,
            moved.a,
            moved.d,
            moved.g,
        )
        return self._rescale(moved, self._maximise_latent(expectation.abilities, theta, latent), theta), value

    @property
    def _scale_is_free(self) -> bool:
        """Whether nothing but the reference group's mean and sd sets the scale: neither fixed items nor priors."""
        parameters = self.parameterisation
        priors = parameters.priors[parameters.estimated]
        of_slopes = bool(parameters.free[0]) and not parameters.floating and not np.isnan(priors[:, 0]).all()
        none_is_fixed = not (self.items.active & ~parameters.estimated).any()
        return len(self.latent.mean) > 1 and none_is_fixed and not of_slopes and bool(np.isnan(priors[:, 2]).all())

    def _rescale(self, items: ItemParameters, latent: Latent, theta: Floats) -> tuple[ItemParameters, Latent]:
        """The same model on the scale on which the reference group has its mean and sd.

        The M-step's is that of its posteriors, and all that others say of the scale would reach it in many small steps
        (parameter expansion: Liu, Rubin and Wu, 1998).
        """
        parameters = self.parameterisation
        abilities = self.expectation.abilities[0]
        weight = float(abilities.sum())
        if not self._scale_is_free or parameters.free_mean[0] or weight == 0.0:
            return items, latent
        mean, sd = float(latent.mean[0]), float(latent.sd[0])
        own_mean = float(abilities @ theta) / weight
        unit = 1.0
        if parameters.free[0] and not parameters.free_sd[0]:
            unit = float(np.clip(np.sqrt(abilities @ (theta - own_mean) ** 2 / weight), *SD_BOUNDS)) / sd
        moved = Latent(mean + (latent.mean - own_mean) / unit, latent.sd / unit)
        moved.mean[0], moved.sd[0] = mean, latent.sd[0] if unit == 1.0 else sd
        return replace(items, a=items.a * unit, d=items.d + items.a * (own_mean - mean * unit)), moved

    def _maximise_latent(self, abilities: Floats, theta: Floats, latent: Latent) -> Latent:
        """Moments of the summed posteriors; a group without a learner in the blocks at hand keeps its own."""
        weight = abilities.sum(axis=1)
        present = weight > 0.0
        weight = np.where(present, weight, 1.0)
        mean = np.where(self.parameterisation.free_mean & present, abilities @ theta / weight, latent.mean)
        variance = (abilities * (theta - mean[:, None]) ** 2).sum(axis=1) / weight
        free_sd = self.parameterisation.free_sd & present
        return Latent(mean, np.where(free_sd, np.clip(np.sqrt(variance), *SD_BOUNDS), latent.sd))
