"""Sums behind the observed information of the item parameters and of the latent distribution.

Louis (1982): information = E[complete-data information] - sum over learners of Cov(complete-data score), expectation
and covariance taken over each learner's posterior. Oakes' (1999) identity gives the same by way of a derivative.
"""

from math import sqrt

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Flags, Floats, Integers, kernel
from irt_analytics.irt._kernels.model import log_prior, logistic
from irt_analytics.irt._kernels.posterior import BLOCK, LANES

# Nodes of less posterior weight than this add nothing that a double could hold.
NEGLIGIBLE = 1e-16


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
        log_prior(a[j], d[j], g[j], priors, free, gradient, own)
        for u in range(3):
            for v in range(u):
                own[u, v] = own[v, u]


@kernel
def centred_scores(
    answers: AnyInteger,
    theta: Floats,
    weights: Floats,
    of_z: Floats,
    of_g: Floats,
    item_rows: Integers,
    group_rows: Integers,
    mean: float,
    sd: float,
    centred: Floats,
    average: Floats,
    rows: Integers,
) -> tuple[int, int]:
    """One learner's scores at the nodes that carry weight, less their posterior mean and times the root of the weight.

    Fills `centred` (node, score) and the number of each score's row in `rows`; returns how many nodes and scores.
    """
    n_scores = 0
    for answer in answers:
        for u in range(3):
            if item_rows[answer >> 1, u] >= 0:
                rows[n_scores] = item_rows[answer >> 1, u]
                n_scores += 1
    for u in range(2):
        if group_rows[u] >= 0:
            rows[n_scores] = group_rows[u]
            n_scores += 1
    average[:n_scores] = 0.0
    n_nodes = 0
    for k in range(len(theta)):
        if weights[k] < NEGLIGIBLE:
            continue
        own = centred[n_nodes]
        n_nodes += 1
        at = 0
        for answer in answers:
            item = answer >> 1
            if item_rows[item, 0] >= 0:
                own[at] = theta[k] * of_z[answer, k]
                at += 1
            if item_rows[item, 1] >= 0:
                own[at] = of_z[answer, k]
                at += 1
            if item_rows[item, 2] >= 0:
                own[at] = of_g[answer, k]
                at += 1
        deviation = (theta[k] - mean) / sd
        if group_rows[0] >= 0:
            own[at] = deviation / sd
            at += 1
        if group_rows[1] >= 0:
            own[at] = deviation * deviation - 1.0
        for r in range(n_scores):
            average[r] += weights[k] * own[r]
    at = 0
    for k in range(len(theta)):
        if weights[k] >= NEGLIGIBLE:
            own, root = centred[at], sqrt(weights[k])
            at += 1
            for r in range(n_scores):
                own[r] = (own[r] - average[r]) * root
    return n_nodes, n_scores


@kernel
def product_row(centred: Floats, n_nodes: int, r: int, last: int, product: Floats) -> None:
    """product[s] = sum over the nodes of centred[:, r] * centred[:, s] for s from r to last."""
    product[r:last] = 0.0
    whole = n_nodes - n_nodes % 4
    for k in range(0, whole, 4):
        c0, c1, c2, c3 = centred[k], centred[k + 1], centred[k + 2], centred[k + 3]
        x0, x1, x2, x3 = c0[r], c1[r], c2[r], c3[r]
        for s in range(r, last):
            product[s] += (x0 * c0[s] + x1 * c1[s]) + (x2 * c2[s] + x3 * c3[s])
    for k in range(whole, n_nodes):
        c0 = centred[k]
        x0 = c0[r]
        for s in range(r, last):
            product[s] += x0 * c0[s]


@kernel
def add_score_covariance(
    first: int,
    last: int,
    n_parts: int,
    blocks: Integers,
    indptr: Integers,
    answers: AnyInteger,
    theta: Floats,
    posterior: Floats,
    of_z: Floats,
    of_g: Floats,
    item_rows: Integers,
    group: AnyInteger,
    group_rows: Integers,
    mean: Floats,
    sd: Floats,
    total: Floats,
) -> None:
    """Add the posterior covariance of every learner's score to the upper triangle of `total`.

    `item_rows` (n_items, 3) and `group_rows` (n_groups, 2) say which row belongs to a, d and g of an item and to mean
    and log sd of a group, -1 to none; rows rise with the item and those of the groups stand last. Only rows whose
    number leaves a remainder in first..last when divided by `n_parts` are added, so that the parts can be done at the
    same time.
    """
    most = 0
    for block in blocks:
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(group))):
            most = max(most, indptr[i + 1] - indptr[i])
    width = 3 * most + 2
    centred, rows = np.empty((len(theta), width)), np.empty(width, dtype=np.int64)
    product = np.empty(width)
    for slot in range(len(blocks)):
        start = blocks[slot] * BLOCK
        for i in range(start, min(start + BLOCK, len(group))):
            n_nodes, n_scores = centred_scores(
                answers[indptr[i] : indptr[i + 1]],
                theta,
                posterior[slot * BLOCK + i - start],
                of_z,
                of_g,
                item_rows,
                group_rows[group[i]],
                mean[group[i]],
                sd[group[i]],
                centred,
                product,
                rows,
            )
            for r in range(n_scores):
                if first <= rows[r] % n_parts < last:
                    product_row(centred, n_nodes, r, n_scores, product)
                    into = total[rows[r]]
                    for s in range(r, n_scores):
                        into[rows[s]] += product[s]


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
    total: Floats,
) -> None:
    """Add, for answers first..last, the outer products of the learners' posterior mean scores in (a, d, g)."""
    by_theta, lanes, mean = np.zeros(posterior.shape[1]), np.empty((3, LANES)), np.empty(3)
    for slot in range(len(blocks)):
        low, high = touch_ptr[blocks[slot]], touch_ptr[blocks[slot] + 1]
        at = low + np.searchsorted(codes[low:high], first)
        while at < high and codes[at] < last:
            z, g, into = of_z[codes[at]], of_g[codes[at]], total[codes[at]]
            for k in range(len(theta)):
                by_theta[k] = theta[k] * z[k]
            for m in range(starts[at], starts[at + 1]):
                weights = posterior[slot * BLOCK + members[m]]
                lanes[:] = 0.0
                for k0 in range(0, len(weights), LANES):
                    for lane in range(LANES):
                        w = weights[k0 + lane]
                        lanes[0, lane] += w * by_theta[k0 + lane]
                        lanes[1, lane] += w * z[k0 + lane]
                        lanes[2, lane] += w * g[k0 + lane]
                for u in range(3):
                    mean[u] = 0.0
                    for lane in range(LANES):
                        mean[u] += lanes[u, lane]
                for u in range(3):
                    for v in range(3):
                        into[u, v] += mean[u] * mean[v]
            at += 1
