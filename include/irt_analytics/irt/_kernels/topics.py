"""Abilities by topic, learner by learner: a learner's topics are consecutive rows of the answers."""

from math import inf, log, sqrt

import numpy as np

from irt_analytics.irt._kernels.abilities import moments, refine
from irt_analytics.irt._kernels.jit import AnyInteger, Flags, Floats, Integers, kernel
from irt_analytics.irt._kernels.posterior import exp_row
from irt_analytics.irt._kernels.rows import LANES, add_rows, largest


@kernel
def moments_under(
    row: Floats, nodes: Floats, mean: float, sd: float, bits: Integers, lanes: Floats
) -> tuple[float, float]:
    """Posterior mean and sd of the log-likelihood `row` over the nodes under N(mean, sd^2); `row` is overwritten."""
    per_sd = 1.0 / sd
    for k in range(len(nodes)):
        row[k] -= 0.5 * ((nodes[k] - mean) * per_sd) ** 2
    row[len(nodes) :] = -inf
    return moments(row, bits, lanes, nodes)


@kernel
def topic_moments(
    first: int,
    last: int,
    learner_ptr: Integers,
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: Flags,
    wanted: Flags,
    table: Floats,
    nodes: Floats,
    mean: float,
    sd: float,
    tau: float,
    most_topics: int,
    theta: Floats,
    se: Floats,
    prior_mean: Floats,
    prior_sd: Floats,
) -> None:
    """Posterior moments of the wanted topics of learners first..last, with the learner's other topics as their prior.

    A posterior narrower than the spacing of the nodes is summed over a grid of its own.
    """
    width = table.shape[1]
    own, total, row = np.empty((most_topics, width)), np.empty(width), np.empty(width)
    bits, lanes = np.empty(width, dtype=np.int64), np.empty(LANES)
    spacing = nodes[1] - nodes[0]
    for i in range(first, last):
        start, n = learner_ptr[i], learner_ptr[i + 1] - learner_ptr[i]
        total[:] = 0.0
        for t in range(n):
            own[t] = 0.0
            add_rows(table, answers[indptr[start + t] : indptr[start + t + 1]], 0, own[t])
            total += own[t]
        begin, end = indptr[start], indptr[start + n]
        for t in range(n):
            if not wanted[start + t]:
                continue
            left, right = indptr[start + t], indptr[start + t + 1]
            m, s = mean, sd
            if n > 1:
                for k in range(width):
                    row[k] = total[k] - own[t, k]
                m, s = moments_under(row, nodes, mean, sd, bits, lanes)
                if s < spacing:
                    others = np.concatenate((answers[begin:left], answers[right:end]))
                    m, s = refine(m, s, spacing, mean, sd, others, a, d, c, active)
            prior_mean[start + t] = m
            prior_sd[start + t] = sqrt(s * s + tau * tau)
            row[:] = own[t]
            of_topic, error = moments_under(row, nodes, m, prior_sd[start + t], bits, lanes)
            theta[start + t], se[start + t] = refine(
                of_topic, error, spacing, m, prior_sd[start + t], answers[left:right], a, d, c, active
            )


@kernel
def log_marginal(
    first: int,
    last: int,
    learner_ptr: Integers,
    indptr: Integers,
    answers: AnyInteger,
    table: Floats,
    log_prior: Floats,
    smoother: Floats,
    value: Floats,
) -> None:
    """Log marginal likelihood of learners first..last where theta of a topic deviates from that of the learner.

    `smoother` holds the density of the deviation at 0, 1, 2, ... spacings of the nodes, summing to 1 with both sides.
    """
    n_nodes, width = len(log_prior), table.shape[1]
    own, smooth, total = np.empty(width), np.empty(n_nodes), np.empty(width)
    bits = np.empty(width, dtype=np.int64)
    for i in range(first, last):
        total[:n_nodes] = log_prior
        total[n_nodes:] = -inf
        highest = largest(total)
        for k in range(width):
            total[k] -= highest
        exp_row(total, bits)
        for unit in range(learner_ptr[i], learner_ptr[i + 1]):
            own[:] = 0.0
            add_rows(table, answers[indptr[unit] : indptr[unit + 1]], 0, own)
            own[n_nodes:] = -inf
            top = largest(own)
            for k in range(width):
                own[k] -= top
            exp_row(own, bits)
            for k in range(n_nodes):
                smooth[k] = smoother[0] * own[k]
            for j in range(1, len(smoother)):
                weight = smoother[j]
                for k in range(n_nodes - j):
                    smooth[k] += weight * own[k + j]
                for k in range(j, n_nodes):
                    smooth[k] += weight * own[k - j]
            # The product over topics, which many would let underflow, is kept at 1 where it is largest.
            for k in range(n_nodes):
                total[k] *= smooth[k]
            peak = largest(total)
            for k in range(n_nodes):
                total[k] /= peak
            highest += top + log(peak)
        density = 0.0
        for k in range(n_nodes):
            density += total[k]
        value[i] = highest + log(density)
