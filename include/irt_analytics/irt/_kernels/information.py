"""Sums behind the observed information of the item parameters and of the latent distribution.

Louis (1982): information = E[complete-data information] - sum over learners of Cov(complete-data score), expectation
and covariance taken over each learner's posterior. Oakes' (1999) identity gives the same by way of a derivative.
"""

from math import sqrt

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Flags, Floats, Integers, kernel
from irt_analytics.irt._kernels.model import log_prior, logistic
from irt_analytics.irt._kernels.posterior import BLOCK
from irt_analytics.irt._kernels.rows import LANES

# Nodes of less posterior weight than this are left out of a learner's covariance.
NEGLIGIBLE = 1e-12
SD_PER_SPACING = 0.875
WIDEST_SPACING = 0.401
# Learners in a row that go to the same total.
TURN = 64


@kernel
def scores(
    first: int,
    last: int,
    a: Floats,
    d: Floats,
    g: Floats,
    active: Flags,
    theta: Floats,
    of_z: Floats,
    of_g: Floats,
) -> None:
    """Derivatives of log Q (rows 2j) and log P (rows 2j + 1) in z = a * theta + d and in g, at the abilities theta."""
    for j in range(first, last):
        if not active[j]:
            continue
        c = logistic(g[j])
        for k in range(len(theta)):
            s = logistic(a[j] * theta[k] + d[j])
            not_s = logistic(-a[j] * theta[k] - d[j])
            p = c + (1.0 - c) * s
            of_z[2 * j, k] = -s
            of_z[2 * j + 1, k] = not_s if c == 0.0 else s * (1.0 - c) * not_s / p
            of_g[2 * j, k] = -c
            of_g[2 * j + 1, k] = 0.0 if c == 0.0 else c * (1.0 - c) * not_s / p


@kernel
def complete_information(
    first: int,
    last: int,
    counts: Floats,
    theta: Floats,
    a: Floats,
    d: Floats,
    g: Floats,
    estimated: Flags,
    free: Flags,
    priors: Floats,
    information: Floats,
) -> None:
    """Minus the second derivatives of the penalised expected log-likelihood in (a, d, g), item by item."""
    gradient = np.zeros(3)
    for j in range(first, last):
        if not estimated[j]:
            continue
        own = information[j]
        c = logistic(g[j])
        for k in range(len(theta)):
            s = logistic(a[j] * theta[k] + d[j])
            not_s = logistic(-a[j] * theta[k] - d[j])
            zz = (counts[2 * j, k] + counts[2 * j + 1, k]) * s * not_s
            if c > 0.0:
                right, wrong = counts[2 * j + 1, k], counts[2 * j, k]
                p = c + (1.0 - c) * s
                # With q = (1 - c)(1 - s): dP/dz = s q and dP/dg = c q; log Q = log(1 - c) - log(1 + e^z).
                q = (1.0 - c) * not_s
                ratio = q / p
                zz = wrong * s * not_s - right * s * ratio * ((not_s - s) - s * ratio)
                zg = right * s * c * ratio * (1.0 + ratio)
                gg = wrong * c * (1.0 - c) - right * c * ratio * ((1.0 - 2.0 * c) - c * ratio)
                own[0, 2] += theta[k] * zg
                own[1, 2] += zg
                own[2, 2] += gg
            own[0, 0] += theta[k] * theta[k] * zz
            own[0, 1] += theta[k] * zz
            own[1, 1] += zz
        log_prior(a[j], d[j], g[j], priors[j], free, gradient, own)
        for u in range(3):
            for v in range(u):
                own[u, v] = own[v, u]


@kernel
def thin(theta: Floats, weights: Floats, kept: Integers, kept_weights: Floats) -> int:
    """Choose the nodes over which a learner's posterior is summed; returns how many.

    A sum over equally spaced nodes errs by about 2 exp(-2 pi^2 (sd / spacing)^2) of the density: 5e-7 at the widest
    spacing taken here, every second, fourth ... node, as the posterior and the curves allow.
    """
    mean = variance = 0.0
    for k in range(len(theta)):
        mean += weights[k] * theta[k]
    for k in range(len(theta)):
        variance += weights[k] * (theta[k] - mean) ** 2
    stride, spacing = 1, theta[1] - theta[0]
    while 2.0 * stride * spacing <= min(WIDEST_SPACING, sqrt(variance) / SD_PER_SPACING):
        stride *= 2
    n, total = 0, 0.0
    for k in range(0, len(theta), stride):
        if weights[k] > NEGLIGIBLE:
            kept[n], kept_weights[n] = k, weights[k]
            total += weights[k]
            n += 1
    for m in range(n):
        kept_weights[m] /= total
    return n


@kernel
def centred_scores(
    answers: AnyInteger,
    theta: Floats,
    nodes: Integers,
    weights: Floats,
    of_z: Floats,
    of_g: Floats,
    free: Flags,
    item_unit: Integers,
    group_unit: int,
    of_mean: bool,
    of_sd: bool,
    mean: float,
    sd: float,
    centred: Floats,
    units: Integers,
) -> int:
    """One learner's scores at the given nodes, less their mean over the weights and times the root of the weight.

    Scores stand in units of `width` = the number of free item parameters: those of an item, and those of mean and log
    sd of the learner's group from `group_unit` on. Fills `centred` (node, score) and `units`; returns how many units.
    """
    width = 0
    for u in range(3):
        if free[u]:
            width += 1
    n, at = 0, 0
    for answer in answers:
        unit = item_unit[answer >> 1]
        if unit < 0:
            continue
        units[n] = unit
        n += 1
        if free[0]:
            for m in range(len(nodes)):
                centred[m, at] = theta[nodes[m]] * of_z[answer, nodes[m]]
            at += 1
        if free[1]:
            for m in range(len(nodes)):
                centred[m, at] = of_z[answer, nodes[m]]
            at += 1
        if free[2]:
            for m in range(len(nodes)):
                centred[m, at] = of_g[answer, nodes[m]]
            at += 1
    if group_unit >= 0:
        for m in range(len(nodes)):
            deviation = (theta[nodes[m]] - mean) / sd
            centred[m, at] = deviation / sd if of_mean else 0.0
            centred[m, at + 1] = deviation * deviation - 1.0 if of_sd else 0.0
            for u in range(2, width):
                centred[m, at + u] = 0.0
        for unit in range(2 if width == 1 else 1):
            units[n] = group_unit + unit
            n += 1
            at += width
    for r in range(at):
        average = 0.0
        for m in range(len(nodes)):
            average += weights[m] * centred[m, r]
        for m in range(len(nodes)):
            centred[m, r] = (centred[m, r] - average) * sqrt(weights[m])
    return n


@kernel
def product_row(centred: Floats, n_nodes: int, r: int, product: Floats) -> None:
    """product[s] = sum over the nodes of centred[:, r] * centred[:, s], for s from a little before r to its end."""
    first = r - r % LANES
    product[first:] = 0.0
    whole = n_nodes - n_nodes % 4
    for k in range(0, whole, 4):
        c0, c1, c2, c3 = centred[k], centred[k + 1], centred[k + 2], centred[k + 3]
        x0, x1, x2, x3 = c0[r], c1[r], c2[r], c3[r]
        for s in range(first, len(product)):
            product[s] += (x0 * c0[s] + x1 * c1[s]) + (x2 * c2[s] + x3 * c3[s])
    for k in range(whole, n_nodes):
        c0 = centred[k]
        x0 = c0[r]
        for s in range(first, len(product)):
            product[s] += x0 * c0[s]


@kernel
def add_score_covariance(
    first: int,
    last: int,
    blocks: Integers,
    indptr: Integers,
    answers: AnyInteger,
    theta: Floats,
    posterior: Floats,
    of_z: Floats,
    of_g: Floats,
    free: Flags,
    item_unit: Integers,
    group: AnyInteger,
    group_unit: Integers,
    free_mean: Flags,
    free_sd: Flags,
    mean: Floats,
    sd: Floats,
    totals: Floats,
) -> None:
    """Add the posterior covariance of every learner's score to the tiles above the diagonal of totals first..last.

    The learners of a block are dealt to the totals by turns of `TURN`. A total has the shape (n_units, n_units, width,
    width): a tile for every pair of units, so that the scores of two items meet in one place in memory. `item_unit`
    and `group_unit` give the unit of an item and the first one of a group, -1 where nothing is estimated; units rise
    with the item, and those of groups stand last.
    """
    most = 0
    for block in blocks:
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(group))):
            most = max(most, indptr[i + 1] - indptr[i])
    width = totals.shape[3]
    size = (width * (most + 2) + LANES) // LANES * LANES
    centred, units = np.zeros((len(theta), size)), np.empty(most + 2, dtype=np.int64)
    product = np.empty((width, size))
    nodes, weights = np.empty(len(theta), dtype=np.int64), np.empty(len(theta))
    for into in range(first, last):
        total = totals[into]
        for slot in range(len(blocks)):
            start = blocks[slot] * BLOCK
            for i in range(start, min(start + BLOCK, len(group))):
                if i // TURN % len(totals) != into:
                    continue
                own = group[i]
                n_nodes = thin(theta, posterior[slot * BLOCK + i - start], nodes, weights)
                n = centred_scores(
                    answers[indptr[i] : indptr[i + 1]],
                    theta,
                    nodes[:n_nodes],
                    weights,
                    of_z,
                    of_g,
                    free,
                    item_unit,
                    group_unit[own],
                    free_mean[own],
                    free_sd[own],
                    mean[own],
                    sd[own],
                    centred,
                    units,
                )
                padded = (width * n + LANES - 1) // LANES * LANES
                for r in range(n):
                    for u in range(width):
                        product_row(centred, n_nodes, width * r + u, product[u, :padded])
                    row = total[units[r]]
                    for s in range(r, n):
                        tile = row[units[s]]
                        for u in range(width):
                            for v in range(width):
                                tile[u, v] += product[u, width * s + v]


@kernel
def add_score_squares(
    first: int, last: int, counts: Floats, theta: Floats, of_z: Floats, of_g: Floats, total: Floats
) -> None:
    """Add, for answers first..last, the expected outer products of the scores in (a, d, g)."""
    score = np.empty(3)
    for code in range(first, last):
        for k in range(len(theta)):
            score[0], score[1], score[2] = theta[k] * of_z[code, k], of_z[code, k], of_g[code, k]
            for u in range(3):
                for v in range(3):
                    total[code, u, v] += counts[code, k] * score[u] * score[v]


@kernel
def mean_scores(
    rows: Floats, members: AnyInteger, start: int, stop: int, x: Floats, y: Floats, n_nodes: int, means: Floats
) -> None:
    """means[:, m] = scalar products of the row of member start + m with x and y, for the four members from `start`.

    Four rows at a time keep the processor busy while each sum stays in its order; past `stop` the last one repeats.
    """
    w0, w1 = rows[members[start]], rows[members[min(start + 1, stop - 1)]]
    w2, w3 = rows[members[min(start + 2, stop - 1)]], rows[members[min(start + 3, stop - 1)]]
    x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = 0.0
    for k in range(n_nodes):
        x0 += w0[k] * x[k]
        x1 += w1[k] * x[k]
        x2 += w2[k] * x[k]
        x3 += w3[k] * x[k]
        y0 += w0[k] * y[k]
        y1 += w1[k] * y[k]
        y2 += w2[k] * y[k]
        y3 += w3[k] * y[k]
    means[0, 0], means[0, 1], means[0, 2], means[0, 3] = x0, x1, x2, x3
    means[1, 0], means[1, 1], means[1, 2], means[1, 3] = y0, y1, y2, y3


@kernel
def add_mean_score_products(
    first: int,
    last: int,
    blocks: Integers,
    touch_ptr: Integers,
    codes: AnyInteger,
    starts: Integers,
    members: AnyInteger,
    theta: Floats,
    posterior: Floats,
    of_z: Floats,
    of_g: Floats,
    with_g: bool,
    total: Floats,
) -> None:
    """Add, for answers first..last, the outer products of the learners' posterior mean scores in (a, d, g)."""
    n_nodes = len(theta)
    by_theta, means, of_asymptote = np.zeros(n_nodes), np.zeros((2, 4)), np.zeros((2, 4))
    for slot in range(len(blocks)):
        low, high = touch_ptr[blocks[slot]], touch_ptr[blocks[slot] + 1]
        rows = posterior[slot * BLOCK : (slot + 1) * BLOCK]
        at = low + np.searchsorted(codes[low:high], first)
        while at < high and codes[at] < last:
            z, g, into = of_z[codes[at]], of_g[codes[at]], total[codes[at]]
            for k in range(n_nodes):
                by_theta[k] = theta[k] * z[k]
            aa = ad = dd = ag = dg = gg = 0.0
            for start in range(starts[at], starts[at + 1], 4):
                mean_scores(rows, members, start, starts[at + 1], by_theta, z, n_nodes, means)
                if with_g:
                    mean_scores(rows, members, start, starts[at + 1], g, g, n_nodes, of_asymptote)
                for m in range(min(4, starts[at + 1] - start)):
                    aa += means[0, m] * means[0, m]
                    ad += means[0, m] * means[1, m]
                    dd += means[1, m] * means[1, m]
                    ag += means[0, m] * of_asymptote[0, m]
                    dg += means[1, m] * of_asymptote[0, m]
                    gg += of_asymptote[0, m] * of_asymptote[0, m]
            into[0, 0] += aa
            into[0, 1] += ad
            into[1, 0] += ad
            into[1, 1] += dd
            into[0, 2] += ag
            into[2, 0] += ag
            into[1, 2] += dg
            into[2, 1] += dg
            into[2, 2] += gg
            at += 1
