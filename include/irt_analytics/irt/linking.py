r"""Linking constants that put one calibration on the scale of another.

The two scales differ by the indeterminacy of the model: theta_reference = A * theta_new + B leaves every response
probability unchanged when a' = a / A and b' = A * b + B. A and B are found from the *anchors*, items calibrated on both
scales, by

- ``mean_mean``: A = mean(a_new) / mean(a_reference), B = mean(b_reference) - A * mean(b_new)  (Loyd and Hoover, 1980);
- ``mean_sigma``: A = sd(b_reference) / sd(b_new), the same B  (Marco, 1977);
- ``haebara``: the sum over anchors of squared differences of their response curves is least  (Haebara, 1980);
- ``stocking_lord``: the squared difference of the anchors' *test* characteristic curves is least
  (Stocking and Lord, 1983).

Kolen and Brennan (2014), Test Equating, Scaling, and Linking, 3rd ed., section 6.3, set the four side by side. Standard
errors of A and B follow by the delta method, for the response curve criteria through the implicit function theorem
(Ogasawara, 2000, 2001; Battauz, 2013).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Jacobian = tuple[Floats, Floats]

LinkMethod = Literal["stocking_lord", "haebara", "mean_sigma", "mean_mean"]

MIN_ANCHORS = 2
PARAMETERS = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class Link:
    """The line theta_reference = A * theta_new + B, its error and what it rests on.

    Attributes:
        A: slope, positive.
        B: intercept, in units of the reference scale.
        se_A: standard error of A; 0 where the slope is fixed by the model (Rasch), NaN where no anchor has an error.
        se_B: standard error of B; NaN where no anchor has an error.
        cov_AB: covariance of A and B.
        method: how A and B were found; "fixed" where items kept their parameters and A and B are the learners' sd and
            mean.
        symmetric: whether the response curve criterion counted both directions (moment methods always do).
        n_anchors_used: number of anchors behind A and B.
        anchors: their item ids, in the order of the new calibration.
        dropped: item ids of common items that could not serve as anchors, each with the reason.
        gradient: derivatives of A and B in the anchors' a, b and c on the reference scale, shape (2, 3, n_anchors).
    """

    A: float
    B: float
    se_A: float  # noqa: N815
    se_B: float  # noqa: N815
    cov_AB: float  # noqa: N815
    method: LinkMethod | Literal["fixed"]
    symmetric: bool
    n_anchors_used: int
    anchors: tuple[Hashable, ...]
    dropped: Mapping[Hashable, str]
    gradient: Floats | None = field(default=None, compare=False, repr=False)

    def linking_constants(self) -> dict[str, object]:
        """A, B, their errors and the anchors behind them, ready for JSON (an unknown error is None)."""
        constants = asdict(replace(self, gradient=None))
        for name in ("anchors", "cov_AB", "gradient"):
            del constants[name]
        constants["dropped"] = {str(item): reason for item, reason in self.dropped.items()}
        return {
            name: None if isinstance(value, float) and np.isnan(value) else value for name, value in constants.items()
        }

    def inverse(self) -> Link:
        """The line from the reference scale back to the new one: A' = 1 / A, B' = -B / A."""
        # Delta method with the Jacobian of (1 / A, -B / A) in (A, B).
        jacobian = np.array([[-1.0 / self.A**2, 0.0], [self.B / self.A**2, -1.0 / self.A]])
        covariance = jacobian @ np.array([[self.se_A**2, self.cov_AB], [self.cov_AB, self.se_B**2]]) @ jacobian.T
        return Link(
            A=1.0 / self.A,
            B=-self.B / self.A,
            se_A=float(np.sqrt(covariance[0, 0])),
            se_B=float(np.sqrt(covariance[1, 1])),
            cov_AB=float(covariance[0, 1]),
            method=self.method,
            symmetric=self.symmetric,
            n_anchors_used=self.n_anchors_used,
            anchors=self.anchors,
            dropped=self.dropped,
        )

    def transform_theta(self, theta: ArrayLike) -> Floats:
        """Abilities of any shape on the reference scale: A * theta + B."""
        return self.A * np.asarray(theta, dtype=np.float64) + self.B

    def theta_error(self, theta: ArrayLike) -> Floats:
        """Standard error that the link itself adds to A * theta + B, for `theta` of any shape on the new scale.

        It is shared by everyone at that theta and does not shrink with the number of learners.
        """
        theta = np.asarray(theta, dtype=np.float64)
        return np.sqrt(self.se_A**2 * theta**2 + 2.0 * self.cov_AB * theta + self.se_B**2)

    def transform_latent(self, mean: float, sd: float) -> tuple[float, float]:
        """Mean and sd of the calibration's latent distribution on the reference scale."""
        return self.A * mean + self.B, self.A * sd

    def transform_items(self, items: pd.DataFrame) -> pd.DataFrame:
        """Item parameters and their standard errors on the reference scale: a / A, A * b + B, c unchanged.

        The standard errors stay those of the calibration; the error of the link, common to all items, is in `se_A`
        and `se_B`.

        Args:
            items: columns a, b and, optionally, se_a, se_b and the covariances cov_ac, cov_bc (that of a and b does
                not change); others pass through. A latent mean and sd carried in
                `items.attrs` move along.

        Returns:
            A new frame with the same rows, columns and index.
        """
        transformed = items.copy()
        transformed["a"] = items["a"] / self.A
        transformed["b"] = self.A * items["b"] + self.B
        if "se_a" in items:
            transformed["se_a"] = items["se_a"] / self.A
        if "se_b" in items:
            transformed["se_b"] = self.A * items["se_b"]
        if "cov_ac" in items:
            transformed["cov_ac"] = items["cov_ac"] / self.A
        if "cov_bc" in items:
            transformed["cov_bc"] = self.A * items["cov_bc"]
        if {"latent_mean", "latent_sd"} <= items.attrs.keys():
            mean, sd = self.transform_latent(items.attrs["latent_mean"], items.attrs["latent_sd"])
            transformed.attrs = items.attrs | {"latent_mean": mean, "latent_sd": sd}
        return transformed

    def transform_abilities(self, abilities: pd.DataFrame) -> pd.DataFrame:
        """Abilities (columns theta and se; others pass through) on the reference scale."""
        return abilities.assign(theta=self.transform_theta(abilities["theta"]), se=self.A * abilities["se"])


def link(
    items: pd.DataFrame,
    reference_items: pd.DataFrame,
    method: LinkMethod = "stocking_lord",
    symmetric: bool = True,
    *,
    points: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    covariance: pd.DataFrame | None = None,
    reference_covariance: pd.DataFrame | None = None,
) -> Link:
    """Find the constants that put `items` on the scale of `reference_items`.

    Anchors are the items present in both frames; where a frame has a boolean column `anchor`, only the rows where it
    is true. Common items with a missing parameter or a discrimination that is not positive are dropped and reported.

    Where the discriminations of the anchors are equal within each frame and carry no standard error (Rasch), A is
    their ratio and only B is estimated.

    Args:
        items: the new calibration, one row per item: item_id, a, b, optionally c (0 where absent) and the standard
            errors se_a, se_b, se_c (a missing error: the parameter is taken as known).
        reference_items: the same for the scale to link to.
        method: see the module's docstring.
        symmetric: whether the criterion of "stocking_lord" and "haebara" adds the differences on the new scale to
            those on the reference scale, so that linking back gives the inverse line. Moment methods are symmetric
            as they are.
        points: abilities at which the response curves are compared, shape (n_points,). Default: 30 Gauss-Hermite
            points of N(0, 1) on both scales when symmetric, else 40 equally spaced on [-4, 4].
        weights: their weights, shape (n_points,). Default: those of N(0, 1) when symmetric, else uniform. Given
            `points` without `weights` count alike.
        covariance: covariance matrix of the new calibration's estimates, index and columns pairs (item_id, "a" |
            "b" | "c"); parameters that it lacks are taken as known. Default: diagonal, from the se columns.
        reference_covariance: the same for the reference calibration. The two are taken as independent.

    Raises:
        ValueError: unknown method, missing column, duplicate item ids, fewer than two usable anchors, anchors that
            do not determine A, or points and weights that do not belong together.
    """
    line = find_line(items, reference_items, method, symmetric, points=points, weights=weights)
    errors = _covariance(line.new, covariance), _covariance(line.reference, reference_covariance)
    jacobian = line.d_new, line.d_reference
    parts = [_propagate(part, error) for part, error in zip(jacobian, errors, strict=True) if error is not None]
    constants_covariance = sum(parts, start=np.zeros((2, 2))) if parts else np.full((2, 2), np.nan)
    se_A, se_B = np.sqrt(np.diag(constants_covariance))
    return Link(
        A=line.A,
        B=line.B,
        se_A=0.0 if line.fixed_slope else float(se_A),
        se_B=float(se_B),
        cov_AB=0.0 if line.fixed_slope else float(constants_covariance[0, 1]),
        method=method,
        symmetric=symmetric or method in ("mean_mean", "mean_sigma"),
        n_anchors_used=len(line.new),
        anchors=tuple(line.new.index),
        dropped=line.dropped,
        gradient=line.d_reference,
    )


class Line(NamedTuple):
    """A and B, and what they change by with the parameters of the anchors on either scale."""

    A: float
    B: float
    d_new: Floats  # derivatives of A and B in a, b and c, shape (2, 3, n_anchors)
    d_reference: Floats
    new: pd.DataFrame  # the anchors, by item_id
    reference: pd.DataFrame
    dropped: Mapping[Hashable, str]
    fixed_slope: bool


def find_line(
    items: pd.DataFrame,
    reference_items: pd.DataFrame,
    method: LinkMethod,
    symmetric: bool,
    *,
    points: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Line:
    """What `link` rests on, for whoever carries errors further than one link; arguments as there."""
    if method not in get_args(LinkMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(LinkMethod))}, got {method!r}")
    new, reference, dropped = _anchors(items, reference_items)
    fixed_slope = _fixed_slope(new, reference)
    new_parameters, reference_parameters = _parameters(new), _parameters(reference)
    if method == "mean_mean" or method == "mean_sigma":
        A, B, jacobian = _moments(new_parameters, reference_parameters, method, fixed_slope)
    else:
        criterion = _Criterion(
            new_parameters, reference_parameters, *_quadrature(symmetric, points, weights), symmetric, method
        )
        A, B, jacobian = criterion.minimise(fixed_slope)
    return Line(A, B, *jacobian, new, reference, dropped, fixed_slope is not None)


def _anchors(
    items: pd.DataFrame, reference_items: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, dict[Hashable, str]]:
    """Rows of the usable anchors of both frames, in the same order, and the common items that were dropped."""
    indexed = []
    for name, frame in (("items", items), ("reference_items", reference_items)):
        absent = [column for column in ("item_id", "a", "b") if column not in frame]
        if absent:
            raise ValueError(f"{name} lacks column {', '.join(absent)}; it has {', '.join(map(str, frame.columns))}")
        repeated = frame.loc[frame["item_id"].duplicated(), "item_id"]
        if len(repeated):
            raise ValueError(f"{name} must have one row per item; {repeated.iloc[0]!r} appears more than once")
        indexed.append(frame.set_index("item_id"))
    new, reference = indexed
    common = new.index.intersection(reference.index, sort=False)
    n_common = len(common)
    for frame in indexed:
        if "anchor" in frame:
            common = common[frame.loc[common, "anchor"].to_numpy(dtype=bool)]
    new, reference = new.loc[common], reference.loc[common]

    dropped: dict[Hashable, str] = {}
    usable = np.ones(len(common), dtype=bool)
    for name, frame in (("new", new), ("reference", reference)):
        parameters = _parameters(frame)
        missing: NDArray[np.bool_] = np.any(~np.isfinite(parameters), axis=0)
        for unusable, reason in (
            (missing, f"a parameter is missing in the {name} calibration"),
            (~missing & (parameters[0] <= 0.0), f"discrimination is not positive in the {name} calibration"),
        ):
            dropped |= dict.fromkeys(common[unusable], reason)
            usable &= ~unusable
    if usable.sum() < MIN_ANCHORS:
        counts = f"{len(items)} new and {len(reference_items)} reference items have {n_common} in common"
        examples = "; ".join(f"{item!r}: {reason}" for item, reason in list(dropped.items())[:3])
        raise ValueError(
            f"a link needs at least {MIN_ANCHORS} usable anchors, got {usable.sum()}: {counts}, "
            f"{len(common)} of them marked as anchors, {len(dropped)} dropped" + (f" ({examples})" if examples else "")
        )
    return new.loc[usable], reference.loc[usable], dropped


def _parameters(anchors: pd.DataFrame) -> Floats:
    """Rows a, b, c of the anchors, shape (3, n_anchors); c is 0 where the frame has none."""
    return np.array([_numbers(anchors[name]) if name in anchors else np.zeros(len(anchors)) for name in PARAMETERS])


def _numbers(column: pd.Series[Any]) -> Floats:
    """A column of any numeric type, nulls as NaN."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _fixed_slope(new: pd.DataFrame, reference: pd.DataFrame) -> float | None:
    """A where the model fixes it: discriminations all alike and not estimated in both calibrations."""
    for frame in (new, reference):
        estimated = "se_a" in frame and bool((_numbers(frame["se_a"]) > 0.0).any())
        if estimated or np.ptp(_numbers(frame["a"])) > 0.0:
            return None
    return float(new["a"].iloc[0] / reference["a"].iloc[0])


def _quadrature(symmetric: bool, points: ArrayLike | None, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """Points and weights of the criterion, weights summing to 1."""
    if points is None:
        if weights is not None:
            raise ValueError("weights were given without points")
        if symmetric:
            theta, weight = np.polynomial.hermite_e.hermegauss(30)
        else:
            theta, weight = np.linspace(-4.0, 4.0, 40), np.ones(40)
    else:
        theta = np.asarray(points, dtype=np.float64)
        weight = np.ones_like(theta) if weights is None else np.asarray(weights, dtype=np.float64)
        if theta.ndim != 1 or theta.shape != weight.shape or len(theta) < 2:
            raise ValueError(
                f"points and weights must be one-dimensional, equally long and at least 2, got shapes {theta.shape} "
                f"and {weight.shape}"
            )
        if not (np.isfinite(theta).all() and (weight >= 0.0).all() and 0.0 < weight.sum() < np.inf):
            raise ValueError("points must be finite and weights non-negative with a positive sum")
    return theta, weight / weight.sum()


def _moments(
    new: Floats, reference: Floats, method: Literal["mean_mean", "mean_sigma"], fixed_slope: float | None
) -> tuple[float, float, Jacobian]:
    """A, B and their derivatives in the parameters of both calibrations, each of shape (2, 3, n_anchors).

    Derivatives: Ogasawara (2000), Asymptotic standard errors of IRT equating coefficients using moments.
    """
    n = new.shape[1]
    d_new, d_reference = np.zeros((2, 3, n)), np.zeros((2, 3, n))
    mean_new, mean_reference = new.mean(axis=1), reference.mean(axis=1)
    if fixed_slope is not None:
        A = fixed_slope
    elif method == "mean_mean":
        A = mean_new[0] / mean_reference[0]
        d_new[0, 0] = 1.0 / (n * mean_reference[0])
        d_reference[0, 0] = -A / (n * mean_reference[0])
    else:
        sd_new, sd_reference = new[1].std(), reference[1].std()
        if sd_new == 0.0 or sd_reference == 0.0:
            raise ValueError(f"mean_sigma needs anchors of different difficulty; all {n} have the same b on one scale")
        A = sd_reference / sd_new
        d_new[0, 1] = -A * (new[1] - mean_new[1]) / (n * sd_new**2)
        d_reference[0, 1] = (reference[1] - mean_reference[1]) / (n * sd_reference * sd_new)
    B = mean_reference[1] - A * mean_new[1]
    d_new[1] = -mean_new[1] * d_new[0]
    d_new[1, 1] -= A / n
    d_reference[1] = -mean_new[1] * d_reference[0]
    d_reference[1, 1] += 1.0 / n
    return float(A), float(B), (d_new, d_reference)


class _Curves(NamedTuple):
    """Response curves P(t) of J items and their derivatives; leading axes are those of t, the last is the item."""

    p: Floats
    dt: Floats  # P'
    dtt: Floats  # P''
    dg: Floats  # dP / d(a, b, c), first axis the parameter
    dtg: Floats  # dP' / d(a, b, c)


def _curves(t: Floats, parameters: Floats) -> _Curves:
    """Three-parameter logistic curves at the abilities `t`, shape (n_points,)."""
    a, b, c = parameters
    distance = t[:, None] - b
    s = expit(a * distance)
    s1 = s * (1.0 - s)
    s2 = s1 * (1.0 - 2.0 * s)
    return _Curves(
        p=c + (1.0 - c) * s,
        dt=(1.0 - c) * a * s1,
        dtt=(1.0 - c) * a**2 * s2,
        dg=np.stack([(1.0 - c) * distance * s1, -(1.0 - c) * a * s1, 1.0 - s]),
        dtg=np.stack([(1.0 - c) * (s1 + a * distance * s2), -(1.0 - c) * a**2 * s2, -a * s1]),
    )


class _Criterion:
    r"""The response curve criterion F(A, B) = sum_q w_q sum_g r_qg^2.

    With D_qj the difference at point q between the curve of anchor j on the scale of the comparison and the curve
    moved to it, r_qg is D_qj itself (Haebara) or its sum over the anchors (Stocking-Lord). The curve of the new
    calibration moved to the reference scale is P_new((theta - B) / A); for the symmetric criterion the curve of the
    reference calibration moved to the new scale, P_reference(A * theta + B), is added.
    """

    def __init__(
        self,
        new: Floats,
        reference: Floats,
        points: Floats,
        weights: Floats,
        symmetric: bool,
        method: Literal["haebara", "stocking_lord"],
    ) -> None:
        self.new = new
        self.reference = reference
        self.points = points
        self.weights = weights
        self.directions = (False, True) if symmetric else (False,)
        self.method = method

    def minimise(self, fixed_slope: float | None) -> tuple[float, float, Jacobian]:
        """A, B at the least F and their derivatives in both calibrations' parameters, each (2, 3, n_anchors)."""
        if fixed_slope is None:
            starts = [np.array([np.log(A), B]) for A, B in self._starts()]
        else:
            starts = [np.array([self.reference[1].mean() - fixed_slope * self.new[1].mean()])]

        def unpack(free: Floats) -> tuple[float, float]:
            # A is searched on the log scale, which keeps it positive.
            return (float(np.exp(free[0])), float(free[1])) if fixed_slope is None else (fixed_slope, float(free[0]))

        def residuals(free: Floats) -> Floats:
            return np.concatenate([r.ravel() for r, _ in self._residuals(*unpack(free))])

        def jacobian(free: Floats) -> Floats:
            A, B = unpack(free)
            rows = np.concatenate([d.reshape(2, -1) for _, d in self._residuals(A, B)], axis=1)
            return np.stack([A * rows[0], rows[1]], axis=1) if fixed_slope is None else rows[1:].T

        solutions = [
            least_squares(residuals, start, jac=jacobian, method="lm", xtol=1e-14, ftol=1e-15, gtol=1e-14)
            for start in starts
        ]
        best = min(solutions, key=lambda solution: float(solution.cost))
        A, B = unpack(best.x)
        if not (best.success and np.isfinite([A, B]).all()):
            raise ValueError(
                f"the {self.method} criterion has no minimum that the {self.new.shape[1]} anchors determine "
                f"(stopped at A = {A:.4g}, B = {B:.4g}: {best.message})"
            )
        return A, B, self._implicit_derivatives(A, B, fixed_slope)

    def _starts(self) -> list[tuple[float, float]]:
        """Moment estimates; mean/sigma only where the difficulties differ."""
        starts = [_moments(self.new, self.reference, "mean_mean", None)[:2]]
        if self.new[1].std() > 0.0 and self.reference[1].std() > 0.0:
            starts.append(_moments(self.new, self.reference, "mean_sigma", None)[:2])
        return starts

    def _moved(self, A: float, B: float, backward: bool) -> tuple[Floats, Floats, Floats]:
        """Where the moved curve is evaluated: t(theta; A, B), its gradient and its Hessian in (A, B)."""
        theta, zero = self.points, np.zeros_like(self.points)
        if backward:
            return A * theta + B, np.stack([theta, zero + 1.0]), np.zeros((2, 2, len(theta)))
        t = (theta - B) / A
        gradient = np.stack([-t / A, zero - 1.0 / A])
        hessian = np.array([[2.0 * t / A**2, zero + 1.0 / A**2], [zero + 1.0 / A**2, zero]])
        return t, gradient, hessian

    def _sum(self, per_item: Floats) -> Floats:
        """Differences by item, last axis, added up into the criterion's groups."""
        return per_item if self.method == "haebara" else per_item.sum(axis=-1, keepdims=True)

    def _residuals(self, A: float, B: float) -> list[tuple[Floats, Floats]]:
        """sqrt(w) * r and its gradient in (A, B) for every direction."""
        root = np.sqrt(self.weights)[:, None]
        parts = []
        for backward in self.directions:
            at, moving = (self.new, self.reference) if backward else (self.reference, self.new)
            t, gradient, _ = self._moved(A, B, backward)
            moved = _curves(t, moving)
            r = self._sum(_curves(self.points, at).p - moved.p)
            parts.append((root * r, root * self._sum(-moved.dt * gradient[:, :, None])))
        return parts

    def _implicit_derivatives(self, A: float, B: float, fixed_slope: float | None) -> Jacobian:
        """d(A, B) / d(parameters) = -H^-1 d2F / d(A, B) d(parameters), H the Hessian of F in (A, B).

        The residuals' own second derivatives are kept: anchors never fit exactly.
        """
        hessian = np.zeros((2, 2))
        mixed = [np.zeros((2, 3, self.new.shape[1])), np.zeros((2, 3, self.new.shape[1]))]
        for backward in self.directions:
            at, moving = (self.new, self.reference) if backward else (self.reference, self.new)
            t, t_k, t_kl = self._moved(A, B, backward)
            still, moved = _curves(self.points, at), _curves(t, moving)
            w = self.weights[:, None]
            r = self._sum(still.p - moved.p)
            r_k = self._sum(-moved.dt * t_k[:, :, None])
            d_kl = -(moved.dtt * (t_k[:, None] * t_k[None])[..., None] + moved.dt * t_kl[..., None])
            hessian += np.einsum("qi,kqi,lqi->kl", w, r_k, r_k, optimize=True)
            hessian += np.einsum("qi,klqi->kl", w * r, self._sum(d_kl), optimize=True)
            moving_part, at_part = (1, 0) if backward else (0, 1)
            mixed[moving_part] -= (w * (r_k[:, None] * moved.dg + (r * moved.dtg) * t_k[:, None, :, None])).sum(axis=2)
            mixed[at_part] += (w * (r_k[:, None] * still.dg)).sum(axis=2)
        if fixed_slope is None:
            d_new, d_reference = (-np.tensordot(np.linalg.inv(hessian), part, axes=1) for part in mixed)
        else:
            zero = np.zeros_like(mixed[0][0])
            d_new, d_reference = (np.stack([zero, -part[1] / hessian[1, 1]]) for part in mixed)
        return d_new, d_reference


def _covariance(anchors: pd.DataFrame, covariance: pd.DataFrame | None) -> Floats | None:
    """Covariance of the anchors' a, then b, then c: the full matrix where given, else the vector of variances.

    A parameter without an error is taken as known. None where the calibration carries no standard errors at all.
    """
    if covariance is not None:
        if not covariance.index.equals(covariance.columns):
            raise ValueError("a covariance must have the same pairs (item_id, parameter) as index and as columns")
        wanted = pd.MultiIndex.from_tuples([(item, name) for name in PARAMETERS for item in anchors.index])
        matrix: Floats = covariance.reindex(index=wanted, columns=wanted).to_numpy(dtype=np.float64)
        return np.nan_to_num(matrix)
    columns = anchors.reindex(columns=[f"se_{name}" for name in PARAMETERS])
    errors = np.concatenate([_numbers(columns[name]) for name in columns])
    return None if np.isnan(errors).all() else np.nan_to_num(errors**2)


def _propagate(jacobian: Floats, covariance: Floats) -> Floats:
    """J V J', shape (2, 2), for a Jacobian (2, 3, n_anchors) and V as `_covariance` gives it."""
    rows = jacobian.reshape(2, -1)
    return (rows @ covariance if covariance.ndim == 2 else rows * covariance) @ rows.T
