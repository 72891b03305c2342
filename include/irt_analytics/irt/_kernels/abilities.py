"""Abilities of single learners from known items."""

from math import ceil, exp, inf, log, log1p, nan, sqrt

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Flags, Floats, Integers, kernel
from irt_analytics.irt._kernels.posterior import normalise
from irt_analytics.irt._kernels.rows import LANES, add_rows

MAXIMUM_STEPS = 100
STEP_TOLERANCE = 1e-10
LARGEST_STEP = 1.0
# A sum over a grid is exact to 5e-9 of the density where the spacing is no more than the posterior sd.
SPACING_PER_SD = 1.0
LOCAL_NODES = 33
LOCAL_HALF_WIDTH = 8.0


@kernel
def count_known(first: int, last: int, indptr: Integers, answers: AnyInteger, active: Flags, n: Integers) -> None:
    """Number of answers of learners first..last to items whose parameters are known."""
    for i in range(first, last):
        total = 0
        for j in range(indptr[i], indptr[i + 1]):
            if active[answers[j] >> 1]:
                total += 1
        n[i] = total


@kernel
def log_likelihood(theta: float, answers: AnyInteger, a: Floats, d: Floats, c: Floats, active: Flags) -> float:
    """Log-likelihood of one learner's answers at theta."""
    value = 0.0
    for answer in answers:
        j = answer >> 1
        if not active[j]:
            continue
        z = a[j] * theta + d[j]
        e = exp(-abs(z))
        if answer & 1:
            value += (
                log((1.0 + c[j] * e) / (1.0 + e))
                if z > 0.0
                else (log((c[j] + e) / (1.0 + e)) if c[j] > 0.0 else z - log1p(e))
            )
        else:
            value += log1p(-c[j]) - log1p(e) - (z if z > 0.0 else 0.0)
    return value


@kernel
def score_and_information(
    theta: float, answers: AnyInteger, a: Floats, d: Floats, c: Floats, active: Flags
) -> tuple[float, float, float, float]:
    """Score S, observed information -dS/dtheta, expected information I and Warm's J at theta.

    I = sum P'^2 / (P Q) and J = sum P' P'' / (P Q) (Warm, 1989, eq. 9).
    """
    score = observed = information = bias = 0.0
    for answer in answers:
        j = answer >> 1
        if not active[j]:
            continue
        z = a[j] * theta + d[j]
        e = exp(-abs(z))
        s = (1.0 if z > 0.0 else e) / (1.0 + e)
        not_s = (e if z > 0.0 else 1.0) / (1.0 + e)
        # With P = c + (1 - c) s: P' = a (1 - c) s (1 - s), P'' = P' a (1 - 2 s), P' / (P Q) = a s / P.
        ratio = 1.0 if c[j] == 0.0 else s / (c[j] + (1.0 - c[j]) * s)
        slope = a[j] * (1.0 - c[j]) * s * not_s
        information += slope * a[j] * ratio
        bias += slope * a[j] * (not_s - s) * a[j] * ratio
        if answer & 1:
            score += a[j] * not_s * (1.0 - c[j]) * ratio
            # d/dtheta of a (1 - c) s (1 - s) / P
            observed -= a[j] * ratio * (1.0 - c[j]) * not_s * a[j] * ((not_s - s) - (1.0 - c[j]) * not_s * ratio)
        else:
            score -= a[j] * s
            observed += a[j] * a[j] * s * not_s
    return score, observed, information, bias


@kernel
def best_start(
    low: float,
    high: float,
    n: int,
    mean: float,
    precision: float,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
) -> float:
    """The most likely of n equally spaced abilities: the likelihood of the three-parameter model can have two modes."""
    best, at = -inf, 0.0
    for k in range(n):
        theta = low + (high - low) * k / (n - 1)
        value = log_likelihood(theta, answers, a, d, c, active) - 0.5 * precision * (theta - mean) ** 2
        if value > best:
            best, at = value, theta
    return at


@kernel
def advance(x: float, step: float, low: float, high: float, before: float, reach: float) -> tuple[float, float, float]:
    """Take a step towards a root between low and high that steps which do not halve would circle or creep up to.

    They do where guessing is possible: the equation is steeper or flatter there than the curvature used says. They give
    way to bisection, and to steps that double until both ends are known.

    Returns:
        Where to go, the length of this step, and that of the last doubling one.
    """
    if abs(step) <= 0.5 * before and low < x + step < high:
        return x + step, abs(step), reach
    if high - low == inf:
        reach = min(2.0 * max(reach, abs(step)), LARGEST_STEP)
        return x + (reach if step > 0.0 else -reach), reach, reach
    return 0.5 * (low + high), 0.5 * (high - low), reach


@kernel
def maximum_a_posteriori(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    several_modes: bool,
    mean: Floats,
    sd: Floats,
    theta: Floats,
    se: Floats,
) -> None:
    """Posterior mode under N(mean, sd^2) and the inverse root of the observed information there."""
    for i in range(first, last):
        row = answers[indptr[i] : indptr[i + 1]]
        precision = 1.0 / sd[i] ** 2
        x = mean[i]
        if several_modes:
            x = best_start(x - 4.0 * sd[i], x + 4.0 * sd[i], 17, mean[i], precision, row, a, d, c, active)
        low, high = -inf, inf
        before, reach = inf, STEP_TOLERANCE
        for _ in range(MAXIMUM_STEPS):
            score, observed, information, _ = score_and_information(x, row, a, d, c, active)
            slope = score - precision * (x - mean[i])
            if slope > 0.0:
                low = x
            else:
                high = x
            curvature = (observed if observed > 0.0 else information) + precision
            step = min(max(slope / curvature, -LARGEST_STEP), LARGEST_STEP)
            if abs(step) < STEP_TOLERANCE:
                break
            x, before, reach = advance(x, step, low, high, before, reach)
        _, observed, _, _ = score_and_information(x, row, a, d, c, active)
        theta[i] = x
        se[i] = 1.0 / sqrt(observed + precision)


@kernel
def weighted_likelihood(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    several_modes: bool,
    theta: Floats,
    se: Floats,
) -> None:
    """Root of S + J / (2 I) (Warm, 1989, eq. 10) and 1 / sqrt(I) there; NaN without an answer."""
    for i in range(first, last):
        row = answers[indptr[i] : indptr[i + 1]]
        theta[i] = se[i] = nan
        x = 0.0
        if several_modes:
            x = best_start(-6.0, 6.0, 25, 0.0, 0.0, row, a, d, c, active)
        low, high = -inf, inf
        before, reach = inf, STEP_TOLERANCE
        information = 0.0
        for _ in range(MAXIMUM_STEPS):
            score, _, information, bias = score_and_information(x, row, a, d, c, active)
            if not information > 0.0:
                break
            slope = score + 0.5 * bias / information
            if slope > 0.0:
                low = x
            else:
                high = x
            step = min(max(slope / information, -LARGEST_STEP), LARGEST_STEP)
            if abs(step) < STEP_TOLERANCE:
                break
            x, before, reach = advance(x, step, low, high, before, reach)
        _, _, information, _ = score_and_information(x, row, a, d, c, active)
        if information > 0.0:
            theta[i] = x
            se[i] = 1.0 / sqrt(information)


@kernel
def local_moments(
    centre: float,
    half_width: float,
    mean: float,
    sd: float,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
) -> tuple[float, float]:
    """Posterior mean and sd by a sum over a grid around `centre`."""
    weights = np.empty(LOCAL_NODES)
    spacing = 2.0 * half_width / (LOCAL_NODES - 1)
    for k in range(LOCAL_NODES):
        x = centre - half_width + k * spacing
        weights[k] = log_likelihood(x, answers, a, d, c, active) - 0.5 * ((x - mean) / sd) ** 2
    top = weights.max()
    total = first = second = 0.0
    for k in range(LOCAL_NODES):
        w, offset = exp(weights[k] - top), k * spacing - half_width
        total += w
        first += w * offset
        second += w * offset * offset
    first /= total
    return centre + first, sqrt(max(second / total - first * first, 0.0))


@kernel
def refine(
    m: float,
    s: float,
    spacing: float,
    mean: float,
    sd: float,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
) -> tuple[float, float]:
    """Posterior mean and sd, m and s by a sum over nodes at `spacing`; again over closer ones while s is smaller."""
    half_width = LOCAL_HALF_WIDTH * max(s, 0.5 * spacing)
    while spacing > SPACING_PER_SD * s:
        m, s = local_moments(m, half_width, mean, sd, answers, a, d, c, active)
        spacing = 2.0 * half_width / (LOCAL_NODES - 1)
        half_width = LOCAL_HALF_WIDTH * max(s, 0.5 * spacing)
    return m, s


@kernel
def moments(row: Floats, bits: Integers, lanes: Floats, nodes: Floats) -> tuple[float, float]:
    """Posterior mean and sd of one learner, `row` being the log-posterior at the nodes; it becomes the weights."""
    normalise(row, bits, lanes)
    m = variance = 0.0
    whole = len(nodes) // LANES * LANES
    lanes[:] = 0.0
    for k0 in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += row[k0 + lane] * nodes[k0 + lane]
    for lane in range(LANES):
        m += lanes[lane]
    for k in range(whole, len(nodes)):
        m += row[k] * nodes[k]
    lanes[:] = 0.0
    for k0 in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += row[k0 + lane] * (nodes[k0 + lane] - m) ** 2
    for lane in range(LANES):
        variance += lanes[lane]
    for k in range(whole, len(nodes)):
        variance += row[k] * (nodes[k] - m) ** 2
    return m, sqrt(variance)


@kernel
def log_prior(nodes: Floats, mean: float, sd: float, row: Floats) -> None:
    """Log-density of N(mean, sd^2) at the nodes, up to a constant; nothing beyond them."""
    row[:] = -inf
    for k in range(len(nodes)):
        row[k] = -0.5 * ((nodes[k] - mean) / sd) ** 2


@kernel
def posterior_moments(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    table: Floats,
    nodes: Floats,
    mean: Floats,
    sd: Floats,
    theta: Floats,
    se: Floats,
) -> None:
    """Posterior mean and sd under N(mean, sd^2) by a sum over the nodes."""
    row, bits, lanes = np.empty(table.shape[1]), np.empty(table.shape[1], dtype=np.int64), np.empty(LANES)
    for i in range(first, last):
        log_prior(nodes, mean[i], sd[i], row)
        add_rows(table, answers[indptr[i] : indptr[i + 1]], 0, row)
        theta[i], se[i] = moments(row, bits, lanes, nodes)


@kernel
def narrow_moments(
    m: float,
    s: float,
    spacing: float,
    mean: float,
    sd: float,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    table: Floats,
    nodes: Floats,
    row: Floats,
    bits: Integers,
    lanes: Floats,
) -> tuple[float, float]:
    """Posterior mean and sd, m and s by a sum over nodes at `spacing`, too far apart for s, over closer `nodes`.

    Those of them around m are taken, and where s is too small for them, too, `refine` goes on.
    """
    closer = nodes[1] - nodes[0]
    half_width = LOCAL_HALF_WIDTH * max(s, 0.5 * spacing)
    width = min(ceil((2.0 * half_width / closer + 1.0) / LANES) * LANES, table.shape[1])
    start = min(max(int((m - half_width - nodes[0]) / closer), 0), table.shape[1] - width)
    near, own = nodes[start : start + width], row[:width]
    log_prior(near, mean, sd, own)
    add_rows(table, answers, start, own)
    m, s = moments(own, bits[:width], lanes, near)
    return refine(m, s, closer, mean, sd, answers, a, d, c, active)


@kernel
def all_narrow_moments(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    spacing: float,
    table: Floats,
    nodes: Floats,
    mean: Floats,
    sd: Floats,
    theta: Floats,
    se: Floats,
) -> None:
    """Replace those moments of learners first..last that are of a sum over nodes at `spacing`, too far apart."""
    row, bits, lanes = np.empty(table.shape[1]), np.empty(table.shape[1], dtype=np.int64), np.empty(LANES)
    for i in range(first, last):
        if spacing > SPACING_PER_SD * se[i]:
            own = answers[indptr[i] : indptr[i + 1]]
            theta[i], se[i] = narrow_moments(
                theta[i], se[i], spacing, mean[i], sd[i], own, a, d, c, active, table, nodes, row, bits, lanes
            )


@kernel
def carried_moments(
    log_posterior: Floats,
    nodes: Floats,
    mean: float,
    sd: float,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    closer_table: Floats,
    closer_nodes: Floats,
) -> tuple[float, float]:
    """Posterior mean and sd of one learner, whose log-posterior at the nodes stays as it is."""
    width, spacing = closer_table.shape[1], nodes[1] - nodes[0]
    row, bits, lanes = np.empty(width), np.empty(width, dtype=np.int64), np.empty(LANES)
    n = len(log_posterior)
    row[:n] = log_posterior
    m, s = moments(row[:n], bits[:n], lanes, nodes)
    if spacing > SPACING_PER_SD * s:
        m, s = narrow_moments(
            m, s, spacing, mean, sd, answers, a, d, c, active, closer_table, closer_nodes, row, bits, lanes
        )
    return m, s
