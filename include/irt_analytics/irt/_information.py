"""Standard errors from the observed information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from irt_analytics.irt._inverse import inverse
from irt_analytics.irt._kernels import information as kernels
from irt_analytics.irt._posterior import normal_log_weights, pad
from irt_analytics.irt._workers import Workers, split_evenly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from irt_analytics.irt._em import Estimation
    from irt_analytics.irt.quadrature import Quadrature

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

ErrorMethod = Literal["full", "block_diagonal", "none"]

# Up to this many estimated items the information is that of all parameters together.
FULL_INFORMATION_ITEMS = 1_000
# Matrices that sum the scores' covariances side by side; their number is part of the order of summation.
_TOTALS = 4
# A lower asymptote under this lies on the border of the parameter space, where its likelihood has no curvature.
_LEAST_ASYMPTOTE = 1e-4


@dataclass(frozen=True)
class ErrorCovariance:
    """Covariance of the estimates of a, b and c, and of the groups' means and sds.

    Attributes:
        method: "full", "block_diagonal" (each item by itself), or "none" where the information is not positive
            definite.
        rows: row of a, b and c of every item, -1 where it is not estimated; shape (n_items, 3).
        items: covariance of those rows, shape (n_rows, n_rows); for "block_diagonal" that of each item's a, b, c,
            shape (n_items, 3, 3) with NaN where there is no estimate.
        groups: covariance of mean and log sd of every group, those of a group beside one another, 0 where it is not
            estimated; shape (2 * n_groups, 2 * n_groups).
        between_groups: covariance of these with the rows of `items`, shape (2 * n_groups, n_rows); without rows for
            "block_diagonal".
    """

    method: ErrorMethod
    rows: Integers
    items: Floats
    groups: Floats
    between_groups: Floats

    def standard_errors(self) -> Floats:
        """Standard errors of a, b, c, NaN where there is none; shape (n_items, 3)."""
        if self.method == "block_diagonal":
            variances = np.diagonal(self.items, axis1=1, axis2=2)
        else:
            variances = np.where(self.rows >= 0, np.append(np.diagonal(self.items), np.nan)[self.rows], np.nan)
        return np.sqrt(variances)

    def group_errors(self, sd: Floats) -> Floats:
        """Standard errors of mean and sd of every group, NaN where there is none; shape (n_groups, 2)."""
        variances = np.diagonal(self.groups).reshape(-1, 2) * np.column_stack([np.ones_like(sd), sd**2])
        return np.sqrt(np.where(variances > 0.0, variances, np.nan))

    def of_population(self, mean: Floats, sd: Floats, share: Floats) -> Floats:
        """Covariance of mean and log sd of theta over all groups, whose shares count as known; shape (2, 2)."""
        pooled = _pooled(mean, sd, share)
        return np.asarray(pooled @ self.groups @ pooled.T)

    def standardised(
        self, a: Floats, b: Floats, mean: Floats, sd: Floats, share: Floats, unit: bool
    ) -> ErrorCovariance:
        """Covariance of the same estimates with theta in units of the whole population; the delta method.

        Args:
            a: slopes of all items before.
            b: difficulties of all items before.
            mean: of theta in every group before.
            sd: likewise.
            share: of the groups in the population, which count as known.
            unit: whether the population's sd becomes 1, beside its mean 0.
        """
        n = len(mean)
        at, pooled = float(share @ mean), _pooled(mean, sd, share)
        scale = float(np.sqrt(share @ (sd**2 + (mean - at) ** 2))) if unit else 1.0
        pooled[1] *= unit
        # A group's mean and log sd in units of the population.
        moved = np.eye(2 * n)
        moved[0::2] -= pooled[0] + (mean - at)[:, None] * pooled[1]
        moved[0::2] /= scale
        moved[1::2] -= pooled[1]
        groups = moved @ self.groups @ moved.T
        scaling = np.array([scale, 1.0 / scale, 1.0])
        if self.method == "block_diagonal":
            items = self.items * scaling[:, None] * scaling
            return ErrorCovariance(self.method, self.rows, items, groups, self.between_groups)
        by_row, own = np.zeros((len(self.items), 2)), self.rows >= 0
        by_row[self.rows[own[:, 0], 0], 1] = a[own[:, 0]]
        by_row[self.rows[own[:, 1], 1]] = np.column_stack([-np.ones_like(b), at - b])[own[:, 1]]
        rows = np.ones(len(self.items))
        rows[self.rows[own]] = np.broadcast_to(scaling, own.shape)[own]
        shared = by_row @ (pooled @ self.between_groups)
        items = self.items + shared + shared.T + by_row @ (pooled @ self.groups @ pooled.T) @ by_row.T
        between = moved @ (self.between_groups + self.groups @ pooled.T @ by_row.T)
        return ErrorCovariance(self.method, self.rows, items * rows[:, None] * rows, groups, between * rows)

    def blocks(self, items: Integers) -> Floats:
        """Covariance of a, b, c of each item by itself, shape (n_items, 3, 3), 0 where not estimated."""
        if self.method == "block_diagonal":
            return np.nan_to_num(self.items[items])
        rows = self.rows[items]
        both = (rows[:, :, None] >= 0) & (rows[:, None, :] >= 0)
        if not both.any():
            return np.zeros(both.shape)
        return np.where(both, self.items[rows[:, :, None], rows[:, None, :]], 0.0)

    def between(self, items: Integers) -> tuple[Floats, NDArray[np.bool_]]:
        """Covariance matrix of the estimated parameters of some items, and which of a, b, c those are."""
        rows = self.rows[items]
        estimated = rows >= 0
        if self.method != "block_diagonal":
            chosen = rows[estimated]
            return self.items[np.ix_(chosen, chosen)], estimated
        n = len(items)
        matrix = np.zeros((n, 3, n, 3))
        matrix[np.arange(n), :, np.arange(n)] = self.items[items]
        chosen = np.flatnonzero(estimated)
        return matrix.reshape(3 * n, 3 * n)[np.ix_(chosen, chosen)], estimated


def error_covariance(estimation: Estimation, grid: Quadrature, run: Workers) -> ErrorCovariance:
    """Inverse of the observed information where the EM ended, in terms of a, b = -d / a and c (delta method)."""
    return _Information(estimation, grid.nodes, run).covariance()


class _Information:
    def __init__(self, estimation: Estimation, theta: Floats, run: Workers) -> None:
        self.estimation = estimation
        self.theta = theta
        self.expectation = estimation.expectation
        self._run = run
        parameters, items = estimation.parameterisation, estimation.items
        free = parameters.estimated[:, None] & parameters.free
        free[:, 2] &= items.c > _LEAST_ASYMPTOTE
        self.item_rows = np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)
        free_group = np.column_stack([parameters.free_mean, parameters.free_sd])
        self.group_rows = np.where(free_group, np.cumsum(free_group).reshape(free_group.shape) - 1, -1)
        shape = 2 * len(items.a), pad(len(theta))
        self._of_z, self._of_g = np.zeros(shape), np.zeros(shape)
        self._item_ranges = split_evenly(np.arange(len(items.a) + 1), run.threads)
        run(
            kernels.scores,
            self._item_ranges,
            items.a,
            items.d,
            items.g,
            items.active,
            theta,
            self._of_z,
            self._of_g,
        )

    def covariance(self) -> ErrorCovariance:
        if int(self.estimation.parameterisation.estimated.sum()) <= FULL_INFORMATION_ITEMS:
            return self._full()
        return self._block_diagonal()

    def _complete_items(self) -> Floats:
        """Expected complete-data information of every item in (a, d, g), shape (n_items, 3, 3)."""
        items, parameters = self.estimation.items, self.estimation.parameterisation
        information = np.zeros((len(items.a), 3, 3))
        self._run(
            kernels.complete_information,
            self._item_ranges,
            self.expectation.counts,
            self.theta,
            items.a,
            items.d,
            items.g,
            parameters.estimated,
            parameters.free,
            parameters.priors_at(items.a),
            information,
        )
        return information

    def _complete_groups(self) -> Floats:
        """The same of mean and log sd of every group, shape (n_groups, 2, 2)."""
        latent, abilities = self.estimation.latent, self.expectation.abilities
        deviation = (self.theta - latent.mean[:, None]) / latent.sd[:, None]
        zeroth, first, second = ((abilities * moment).sum(axis=1) for moment in (1.0, deviation, deviation**2))
        between = 2.0 * first / latent.sd
        return np.stack(
            [np.stack([zeroth / latent.sd**2, between], axis=1), np.stack([between, 2.0 * second], axis=1)], axis=1
        )

    def _score_covariance(self, *, of_items: bool) -> Floats:
        """Sum over learners of the posterior covariance of their scores, those of items first, then those of groups.

        Shape (n_rows, n_rows), rows as `item_rows` (where asked for) and `group_rows` number them.
        """
        blocks, latent = self.estimation.blocks, self.estimation.latent
        parameters = self.estimation.parameterisation
        free = parameters.free
        width = int(free.sum())
        scored = parameters.estimated & of_items
        n_units = int(scored.sum())
        item_unit = np.where(scored, np.cumsum(scored) - 1, -1)
        with_rows = (self.group_rows >= 0).any(axis=1)
        units_each = 2 if width == 1 else 1
        group_unit = np.where(with_rows, n_units + units_each * (np.cumsum(with_rows) - 1), -1)
        n_units += units_each * int(with_rows.sum())
        totals = np.zeros((_TOTALS, n_units, n_units, width, width))
        each = [(total, total + 1) for total in range(_TOTALS)]
        for wave, posterior, _ in self._posteriors():
            self._run(
                kernels.add_score_covariance,
                each,
                wave,
                blocks.responses.indptr,
                blocks.responses.answers,
                self.theta,
                posterior,
                self._of_z,
                self._of_g,
                free,
                item_unit,
                blocks.group,
                group_unit,
                parameters.free_mean,
                parameters.free_sd,
                latent.mean,
                latent.sd,
                totals,
            )
        place_in_unit = np.cumsum(free) - 1
        of_item = width * item_unit[:, None] + place_in_unit
        of_group = width * group_unit[:, None] + np.arange(2)
        kept = np.concatenate([of_item[(self.item_rows >= 0) & of_items], of_group[self.group_rows >= 0]])
        flat = totals.sum(axis=0).transpose(0, 2, 1, 3).reshape(n_units * width, n_units * width)
        upper = np.triu(flat[np.ix_(kept, kept)])
        symmetric: Floats = upper + np.triu(upper, 1).T
        return symmetric

    def _posteriors(self) -> Iterator[tuple[Integers, Floats, Floats]]:
        latent = self.estimation.latent
        log_prior = normal_log_weights(self.theta, latent.mean, latent.sd)
        return self.estimation.blocks.posteriors(self.estimation.items, self.theta, log_prior)

    def _full(self) -> ErrorCovariance:
        n_item_rows = int(self.item_rows.max(initial=-1)) + 1
        group_rows = np.where(self.group_rows >= 0, self.group_rows + n_item_rows, -1)
        information = -self._score_covariance(of_items=True)
        _add_blocks(information, self.item_rows, self._complete_items())
        _add_blocks(information, group_rows, self._complete_groups())
        self._count_unit(information)
        covariance = inverse(information, self._run)
        if covariance is None:
            unknown = np.full((n_item_rows, n_item_rows), np.nan)
            return ErrorCovariance("none", self.item_rows, unknown, *self._of_groups(None, group_rows, n_item_rows))
        _transform(covariance, self.item_rows, self._jacobian())
        groups, between = self._of_groups(covariance, group_rows, n_item_rows)
        return ErrorCovariance("full", self.item_rows, covariance[:n_item_rows, :n_item_rows], groups, between)

    def _count_unit(self, information: Floats) -> None:
        """Take out of the slopes' information what goes into the unit of their priors, where it is estimated too."""
        parameters = self.estimation.parameterisation
        slope = self.item_rows[:, 0]
        own = (slope >= 0) & ~np.isnan(parameters.priors[:, 0])
        if not (parameters.floating and own.any()):
            return
        precision = parameters.priors[own, 1] ** -2.0
        of_unit = np.zeros(len(information))
        of_unit[slope[own]] = precision / self.estimation.items.a[own]
        information -= np.outer(of_unit, of_unit) / precision.sum()

    def _block_diagonal(self) -> ErrorCovariance:
        information = self._complete_items() - self._item_score_covariance()
        free = self.item_rows >= 0
        both = free[:, :, None] & free[:, None, :]
        information = np.where(both, information, np.eye(3))
        definite = (np.linalg.eigvalsh(information) > 0.0).all(axis=1)
        information[~definite] = np.nan
        jacobian = self._jacobian()
        covariance = jacobian @ np.where(both, np.linalg.inv(information), 0.0) @ jacobian.transpose(0, 2, 1)
        of_groups = None
        if (self.group_rows >= 0).any():
            information_of_groups = -self._score_covariance(of_items=False)
            _add_blocks(information_of_groups, self.group_rows, self._complete_groups())
            of_groups = inverse(information_of_groups, self._run)
        groups, between = self._of_groups(of_groups, self.group_rows, 0)
        return ErrorCovariance("block_diagonal", self.item_rows, np.where(both, covariance, np.nan), groups, between)

    def _item_score_covariance(self) -> Floats:
        """Sum over its answers of the posterior covariance of the score of every item, shape (n_items, 3, 3)."""
        blocks, theta = self.estimation.blocks, self.theta
        with_g = bool((self.item_rows[:, 2] >= 0).any())
        products = np.zeros((len(self._of_z), 3, 3))
        for wave, posterior, _ in self._posteriors():
            blocks.over_answers(
                kernels.add_mean_score_products, wave, theta, posterior, self._of_z, self._of_g, with_g, products
            )
        squares = np.zeros_like(products)
        answers = split_evenly(np.arange(len(self._of_z) + 1), self._run.threads)
        self._run(kernels.add_score_squares, answers, self.expectation.counts, theta, self._of_z, self._of_g, squares)
        by_item: Floats = (squares - products).reshape(-1, 2, 3, 3).sum(axis=1)
        return by_item

    def _jacobian(self) -> Floats:
        """Derivatives of (a, b, c) in (a, d, g) for every item, shape (n_items, 3, 3)."""
        items = self.estimation.items
        jacobian = np.zeros((len(items.a), 3, 3))
        jacobian[:, 0, 0] = 1.0
        jacobian[:, 1, 0] = items.d / items.a**2
        jacobian[:, 1, 1] = -1.0 / items.a
        jacobian[:, 2, 2] = items.c * (1.0 - items.c)
        return jacobian

    def _of_groups(self, covariance: Floats | None, group_rows: Integers, n_item_rows: int) -> tuple[Floats, Floats]:
        """Covariance of the groups' means and log sds, and of these with the first rows; NaN where it is not known."""
        rows = group_rows.ravel()
        free = rows >= 0
        groups, between = np.zeros((len(rows), len(rows))), np.zeros((len(rows), n_item_rows))
        groups[np.ix_(free, free)] = np.nan if covariance is None else covariance[np.ix_(rows[free], rows[free])]
        between[free] = np.nan if covariance is None else covariance[rows[free], :n_item_rows]
        return groups, between


def _pooled(mean: Floats, sd: Floats, share: Floats) -> Floats:
    """Derivatives of the population's mean and log sd in those of the groups, shape (2, 2 * n_groups)."""
    at = share @ mean
    variance = share @ (sd**2 + (mean - at) ** 2)
    of_mean = np.column_stack([share, np.zeros_like(share)])
    of_log_sd = (share / variance)[:, None] * np.column_stack([mean - at, sd**2])
    return np.stack([of_mean.ravel(), of_log_sd.ravel()])


def _add_blocks(matrix: Floats, rows: Integers, blocks: Floats) -> None:
    """Add each block to the rows and columns of `matrix` that `rows` names, leaving out -1."""
    for u in range(rows.shape[1]):
        for v in range(rows.shape[1]):
            both = (rows[:, u] >= 0) & (rows[:, v] >= 0)
            matrix[rows[both, u], rows[both, v]] += blocks[both, u, v]


def _transform(covariance: Floats, rows: Integers, jacobian: Floats) -> None:
    """Replace V by J V J' for a Jacobian of (a, b, c) in (a, d, g) that is block-diagonal over the items."""
    slope, intercept, asymptote = rows.T
    for matrix in (covariance, covariance.T):
        both = (slope >= 0) & (intercept >= 0)
        free = intercept >= 0
        matrix[intercept[free]] *= jacobian[free, 1, 1, None]
        matrix[intercept[both]] += jacobian[both, 1, 0, None] * matrix[slope[both]]
        free = asymptote >= 0
        matrix[asymptote[free]] *= jacobian[free, 2, 2, None]
