r"""Links between calibrations that have too few items in common, over others; and the average of several ways.

A chain's line is that of its links one after another, A = A_2 A_1 and B = A_2 B_1 + B_2 for the first and the second.
Several ways between the same two calibrations are averaged as lines by their bisector (Holland and Strawderman, 2011),

    A = sum of l_p A_p,    B = sum of l_p B_p,    l_p proportional to w_p / (1 + A_p^2)^(1/2),

whose inverse is the average of the inverses. The weights w_p are those that make var(A) + var(B) least, or all alike.
Errors by the delta method from the full covariance of every calibration on the way, one that two links or two ways have
in common being counted as such (Battauz, 2013, Psychometrika, 78, 464-480).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.optimize import LinearConstraint, minimize

from irt_analytics.irt.linking import PARAMETERS, Link, LinkMethod, find_line

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinkPath:
    """A line found over other calibrations.

    Attributes:
        line: the line with its errors; its anchors are those of the step that has the fewest, its dropped items those
            of every step.
        paths: names of the calibrations on every way from the new one to the reference.
        weights: of the ways, summing to 1.
        derivatives: of A and B (columns) in the parameters (item_id, "a" | "b" | "c") of every calibration, by name.
        errors: covariance of these, or their variances; None where they are taken as known.
    """

    line: Link
    paths: tuple[tuple[Hashable, ...], ...]
    weights: tuple[float, ...]
    derivatives: Mapping[Hashable, pd.DataFrame] = field(repr=False)
    errors: Mapping[Hashable, pd.DataFrame | pd.Series[float] | None] = field(repr=False)


def chain_links(
    calibrations: Mapping[Hashable, pd.DataFrame],
    path: Sequence[Hashable],
    method: LinkMethod = "stocking_lord",
    symmetric: bool = True,
    *,
    points: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    covariances: Mapping[Hashable, pd.DataFrame] | None = None,
) -> LinkPath:
    """Put the first calibration of `path` on the scale of the last, by links between neighbours.

    Args:
        calibrations: items of each by name, as `link` takes them; they are taken as independent of one another.
        path: names, each once; two are a plain link.
        method: as `link`, in every step.
        symmetric: as `link`.
        points: as `link`.
        weights: as `link`.
        covariances: covariance matrix of a calibration's estimates by its name, as `link` takes it. Default: diagonal,
            from the se columns.

    Raises:
        ValueError: fewer than two calibrations, one that comes twice, or neighbours that `link` cannot link.
    """
    if len(path) < 2 or len(set(path)) < len(path):
        raise ValueError(f"a path needs two calibrations or more, each once, got {list(path)!r}")
    A, B = 1.0, 0.0
    derivatives: dict[Hashable, pd.DataFrame] = {}
    steps = []
    for name, following in pairwise(path):
        try:
            step = find_line(
                calibrations[name], calibrations[following], method, symmetric, points=points, weights=weights
            )
        except ValueError as error:
            raise ValueError(f"from {name!r} to {following!r}: {error}") from None
        steps.append(step)
        onward = np.array([[A, 0.0], [B, 1.0]])
        derivatives = {before: step.A * derivative for before, derivative in derivatives.items()}
        for end, anchors, jacobian in ((name, step.new, step.d_new), (following, step.reference, step.d_reference)):
            own = _derivatives(anchors.index, np.einsum("kl,luj->kuj", onward, jacobian))
            derivatives[end] = derivatives[end].add(own, fill_value=0.0) if end in derivatives else own
        A, B = step.A * A, step.A * B + step.B
    given = covariances or {}
    errors = {name: given[name] if name in given else _variances(calibrations[name]) for name in path}
    weakest = min(steps, key=lambda step: len(step.new))
    covariance = _covariance_between(derivatives, derivatives, errors)
    line = replace(
        _line(A, B, covariance, method, symmetric, tuple(weakest.new.index)),
        dropped={item: reason for step in steps for item, reason in step.dropped.items()},
    )
    if all(step.fixed_slope for step in steps):
        line = replace(line, se_A=0.0)
    return LinkPath(line, (tuple(path),), (1.0,), derivatives, errors)


def average_links(links: Sequence[LinkPath], *, weighted: bool = True) -> LinkPath:
    """Average several ways between the same two calibrations.

    Args:
        links: of `chain_links`, from the same calibrations by the same method.
        weighted: whether ways weigh so that var(A) + var(B) is least; else all alike.

    Raises:
        ValueError: no link, other ends or methods, or weights wanted of links without errors.
    """
    alike = {(link.paths[0][0], link.paths[0][-1], link.line.method, link.line.symmetric) for link in links}
    if len(alike) != 1:
        raise ValueError(
            f"an average needs ways between the same two calibrations by one method, got {sorted(map(str, alike))}"
        )
    lines = np.array([(link.line.A, link.line.B) for link in links])
    errors = {name: error for link in links for name, error in link.errors.items()}
    joint = np.block(
        [[_covariance_between(left.derivatives, right.derivatives, errors) for right in links] for left in links]
    )
    n = len(links)
    ways = np.full(n, 1.0 / n)
    if weighted and n > 1:
        if np.isnan(joint).any():
            raise ValueError("weights rest on the errors of the links, which have none; ask for weighted=False")

        def variance(share: Floats) -> float:
            gradient = _bisector(lines, share)[1]
            return float(np.trace(gradient @ joint @ gradient.T)) / scale

        scale = float(np.trace(joint)) / n
        if scale > 0.0:  # lines without any error weigh alike
            ways = minimize(
                variance,
                ways,
                method="SLSQP",
                bounds=[(0.0, 1.0)] * n,
                constraints=LinearConstraint(np.ones(n), 1.0, 1.0),
                options={"ftol": 1e-12},
            ).x
    (A, B), gradient = _bisector(lines, ways)
    derivatives: dict[Hashable, pd.DataFrame] = {}
    for k, link in enumerate(links):
        turn = gradient[:, 2 * k : 2 * k + 2]
        for name, own in link.derivatives.items():
            moved = pd.DataFrame(own.to_numpy() @ turn.T, index=own.index, columns=own.columns)
            derivatives[name] = derivatives[name].add(moved, fill_value=0.0) if name in derivatives else moved
    weakest = min((link.line for link in links), key=lambda line: line.n_anchors_used)
    first = links[0].line
    line = replace(
        _line(A, B, gradient @ joint @ gradient.T, first.method, first.symmetric, weakest.anchors),
        dropped={item: reason for link in links for item, reason in link.line.dropped.items()},
    )
    if all(link.line.se_A == 0.0 for link in links):
        line = replace(line, se_A=0.0)
    paths = tuple(path for link in links for path in link.paths)
    shares = tuple(float(share * own) for share, link in zip(ways, links, strict=True) for own in link.weights)
    return LinkPath(line, paths, shares, derivatives, errors)


def _bisector(lines: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """A and B of the average, and their derivatives in the A and B of each line, shape (2, 2 * n_lines)."""
    A, B = lines.T
    share = weights / np.sqrt(1.0 + A**2)
    share = share / share.sum()
    average = share @ lines
    leaning = A / (1.0 + A**2)
    gradient = np.zeros((2, len(lines), 2))
    gradient[0, :, 0] = share * (1.0 + leaning * (average[0] - A))
    gradient[1, :, 0] = share * leaning * (average[1] - B)
    gradient[1, :, 1] = share
    return average, gradient.reshape(2, -1)


def _derivatives(items: pd.Index, jacobian: Floats) -> pd.DataFrame:
    """From shape (2, 3, n_items)."""
    index = pd.MultiIndex.from_product([PARAMETERS, items]).swaplevel()
    return pd.DataFrame(jacobian.reshape(2, -1).T, index=index, columns=["A", "B"])


def _variances(items: pd.DataFrame) -> pd.Series[float] | None:
    frame = items.set_index("item_id").reindex(columns=[f"se_{name}" for name in PARAMETERS])
    errors = frame.to_numpy(dtype=np.float64, na_value=np.nan).T
    index = pd.MultiIndex.from_product([PARAMETERS, frame.index]).swaplevel()
    return None if np.isnan(errors).all() else pd.Series(np.nan_to_num(errors**2).ravel(), index=index)


def _covariance_between(
    left: Mapping[Hashable, pd.DataFrame],
    right: Mapping[Hashable, pd.DataFrame],
    errors: Mapping[Hashable, pd.DataFrame | pd.Series[float] | None],
) -> Floats:
    """Covariance of the constants of two links; NaN where no calibration of either has errors."""
    if all(errors[name] is None for name in {**left, **right}):
        return np.full((2, 2), np.nan)
    total = np.zeros((2, 2))
    for name in left.keys() & right.keys():
        error = errors[name]
        if isinstance(error, pd.Series):
            both = left[name].index.intersection(right[name].index)
            weighted = right[name].loc[both].mul(error.reindex(both), axis=0)
            total += left[name].loc[both].to_numpy().T @ weighted.to_numpy()
        elif error is not None:
            matrix = error.reindex(index=left[name].index, columns=right[name].index).fillna(0.0)
            total += left[name].to_numpy().T @ matrix.to_numpy() @ right[name].to_numpy()
    return total


def _line(
    A: float,
    B: float,
    covariance: Floats,
    method: LinkMethod | Literal["fixed"],
    symmetric: bool,
    anchors: tuple[Hashable, ...],
) -> Link:
    se_A, se_B = np.sqrt(np.diag(covariance))
    return Link(
        A=float(A),
        B=float(B),
        se_A=float(se_A),
        se_B=float(se_B),
        cov_AB=float(covariance[0, 1]),
        method=method,
        symmetric=symmetric or method in ("mean_mean", "mean_sigma"),
        n_anchors_used=len(anchors),
        anchors=anchors,
        dropped={},
    )
