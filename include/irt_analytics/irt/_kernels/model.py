r"""The logistic model on a grid of abilities: curves, expected log-likelihood, its maximum.

An item is kept as slope a, intercept d = -a * b and logit g of the lower asymptote c, in which its curve is
P = c + (1 - c) * s with s = 1 / (1 + exp(-z)) and z = a * theta + d. g = -inf is c = 0. Three-element arrays run over
(a, d, g).
"""

from math import exp, inf, log, log1p, sqrt

import numpy as np

from irt_analytics.irt._kernels.jit import Flags, Floats, kernel

MAXIMUM_STEPS = 30
MAXIMUM_HALVINGS = 30
# A Newton step this short, in every parameter, ends the search.
STEP_TOLERANCE = 1e-9


@kernel
def logistic(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + exp(-x))
    e = exp(x)
    return e / (1.0 + e)


@kernel
def log_curves(
    first: int, last: int, a: Floats, d: Floats, g: Floats, active: Flags, theta: Floats, table: Floats
) -> None:
    """Rows 2j and 2j + 1 of `table`: log Q and log P of items first..last at the abilities `theta`.

    An inactive item gets zeros: its answers then say nothing about ability. Columns beyond len(theta) stay as they are.
    """
    for j in range(first, last):
        wrong, right = table[2 * j], table[2 * j + 1]
        if not active[j]:
            wrong[:] = 0.0
            right[:] = 0.0
            continue
        c = logistic(g[j])
        for k in range(len(theta)):
            z = a[j] * theta[k] + d[j]
            e = exp(-abs(z))
            log_q = -log1p(e) - (z if z > 0.0 else 0.0)
            if c == 0.0:
                wrong[k] = log_q
                right[k] = log_q + z
            else:
                wrong[k] = log_q + log1p(-c)
                right[k] = log((1.0 + c * e) / (1.0 + e)) if z > 0.0 else log((c + e) / (1.0 + e))


@kernel
def log_prior(
    a: float, d: float, g: float, priors: Floats, free: Flags, gradient: Floats, information: Floats
) -> float:
    """Log-density of the free parameters up to a constant; its derivatives are added to the arrays.

    `priors` holds the item's: mean and sd of log a, mean and sd of d, the two shapes of the beta distribution of c, and
    mean and sd of the logit of c (NaN: no prior). A beta density is taken as one of c, not of its logit, so that the
    mode is a mode of c.
    """
    value = 0.0
    if free[0] and priors[1] == priors[1]:
        if a <= 0.0:
            return -inf
        precision = 1.0 / priors[1] ** 2
        deviation = log(a) - priors[0]
        value -= log(a) + 0.5 * precision * deviation**2
        gradient[0] -= (1.0 + precision * deviation) / a
        information[0, 0] += (precision - 1.0 - precision * deviation) / a**2
    if free[1] and priors[3] == priors[3]:
        precision = 1.0 / priors[3] ** 2
        value -= 0.5 * precision * (d - priors[2]) ** 2
        gradient[1] -= precision * (d - priors[2])
        information[1, 1] += precision
    if free[2] and priors[4] == priors[4]:
        c = logistic(g)
        alpha, beta = priors[4] - 1.0, priors[5] - 1.0
        value += alpha * log(c) + beta * log1p(-c)
        gradient[2] += alpha - (alpha + beta) * c
        information[2, 2] += (alpha + beta) * c * (1.0 - c)
    if free[2] and priors[7] == priors[7]:
        precision = 1.0 / priors[7] ** 2
        value -= 0.5 * precision * (g - priors[6]) ** 2
        gradient[2] -= precision * (g - priors[6])
        information[2, 2] += precision
    return value


@kernel
def total_log_prior(a: Floats, d: Floats, g: Floats, priors: Floats, free: Flags, estimated: Flags) -> float:
    """Sum of `log_prior` over the estimated items."""
    gradient, information = np.zeros(3), np.zeros((3, 3))
    total = 0.0
    for j in range(len(a)):
        if estimated[j]:
            total += log_prior(a[j], d[j], g[j], priors[j], free, gradient, information)
    return total


@kernel
def expected_log_likelihood(
    wrong: Floats,
    right: Floats,
    theta: Floats,
    a: float,
    d: float,
    g: float,
    gradient: Floats,
    information: Floats,
) -> float:
    """One item's expected complete-data log-likelihood, gradient and expected information.

    `wrong` and `right` are the expected numbers of answers at every ability (Bock and Aitkin, 1981, eqs. 15-18). The
    expected information is never indefinite, as the observed one of the three-parameter model can be.
    """
    gradient[:] = 0.0
    information[:] = 0.0
    value = 0.0
    c = logistic(g)
    for k in range(len(theta)):
        z = a * theta[k] + d
        e = exp(-abs(z))
        s = (1.0 if z > 0.0 else e) / (1.0 + e)
        n = wrong[k] + right[k]
        log_q = -log1p(e) - (z if z > 0.0 else 0.0)
        if c == 0.0:
            value += n * log_q + right[k] * z
            u = right[k] - n * s
            w = n * (e / (1.0 + e) ** 2)
        else:
            # dP/dz = s Q and dP/dg = c Q
            p = c + (1.0 - c) * s
            q = (1.0 - c) * ((e if z > 0.0 else 1.0) / (1.0 + e))
            value += wrong[k] * (log_q + log1p(-c)) + right[k] * log(p)
            residual = (right[k] - n * p) / p
            u = residual * s
            w = n * s * s * q / p
            v = n * s * c * q / p
            gradient[2] += residual * c
            information[0, 2] += theta[k] * v
            information[1, 2] += v
            information[2, 2] += n * c * c * q / p
        gradient[0] += theta[k] * u
        gradient[1] += u
        information[0, 0] += theta[k] * theta[k] * w
        information[0, 1] += theta[k] * w
        information[1, 1] += w
    return value


@kernel
def newton_step(gradient: Floats, information: Floats, free: Flags, limits: Floats, step: Floats) -> None:
    """Solve information @ step = gradient over the free parameters, each component within its limit.

    The triangular factor is made positive definite where rounding or a prior's curvature has left it otherwise.
    """
    factor = np.zeros((3, 3))
    for i in range(3):
        step[i] = 0.0
        if not free[i]:
            continue
        for j in range(i + 1):
            if not free[j]:
                continue
            total = information[j, i]
            for m in range(j):
                total -= factor[i, m] * factor[j, m]
            if i == j:
                floor = 1e-10 * abs(information[i, i]) + 1e-12
                factor[i, i] = sqrt(total if total > floor else floor)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(3):
        if free[i]:
            total = gradient[i]
            for m in range(i):
                total -= factor[i, m] * step[m]
            step[i] = total / factor[i, i]
    for i in range(2, -1, -1):
        if free[i]:
            total = step[i]
            for m in range(i + 1, 3):
                total -= factor[m, i] * step[m]
            step[i] = total / factor[i, i]
    shrink = 1.0
    for i in range(3):
        if abs(step[i]) * shrink > limits[i]:
            shrink = limits[i] / abs(step[i])
    for i in range(3):
        step[i] *= shrink


@kernel
def maximise_items(
    first: int,
    last: int,
    counts: Floats,
    theta: Floats,
    free: Flags,
    estimated: Flags,
    priors: Floats,
    bounds: Floats,
    a: Floats,
    d: Floats,
    g: Floats,
) -> None:
    """M-step: move a, d, g of items first..last to the maximum of their penalised expected log-likelihood.

    Newton steps with step halving; a step is only taken uphill. `counts` rows 2j and 2j + 1 are the expected numbers
    of wrong and right answers to item j, row j of `priors` its priors, `bounds` rows the least and greatest value of
    a, d and g.
    """
    gradient, information = np.zeros(3), np.zeros((3, 3))
    step, limits = np.zeros(3), np.array([1.0, 2.0, 1.0])
    current, candidate = np.zeros(3), np.zeros(3)
    for j in range(first, last):
        if not estimated[j]:
            continue
        wrong, right = counts[2 * j, : len(theta)], counts[2 * j + 1, : len(theta)]
        current[0], current[1], current[2] = a[j], d[j], g[j]
        value = expected_log_likelihood(wrong, right, theta, current[0], current[1], current[2], gradient, information)
        value += log_prior(current[0], current[1], current[2], priors[j], free, gradient, information)
        for _ in range(MAXIMUM_STEPS):
            newton_step(gradient, information, free, limits, step)
            improved = False
            for _ in range(MAXIMUM_HALVINGS):
                moved = 0.0
                for i in range(3):
                    candidate[i] = min(max(current[i] + step[i], bounds[i, 0]), bounds[i, 1]) if free[i] else current[i]
                    moved = max(moved, abs(candidate[i] - current[i])) if free[i] else moved
                if moved < STEP_TOLERANCE:
                    break
                proposed = expected_log_likelihood(
                    wrong, right, theta, candidate[0], candidate[1], candidate[2], gradient, information
                )
                proposed += log_prior(candidate[0], candidate[1], candidate[2], priors[j], free, gradient, information)
                if proposed >= value:
                    improved = True
                    break
                step *= 0.5
            if not improved:
                break
            value = proposed
            current[:] = candidate
        a[j], d[j], g[j] = current[0], current[1], current[2]
