"""Sums behind the tests of items: score distributions, residuals against the other answers, contingency tables."""

from math import exp, inf, log, nan, sqrt

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Floats, Integers, kernel
from irt_analytics.irt._kernels.posterior import BLOCK, normalise
from irt_analytics.irt._kernels.rows import LANES, add_rows

# An answer as sure as this says nothing that can be computed.
SURE = 1e-12
MOST_STEPS = 30
LARGEST_COEFFICIENT = 30.0
STEP_TOLERANCE = 1e-8


@kernel
def expected_by_score(first: int, last: int, curves: Floats, weights: Floats, expected: Floats) -> None:
    """expected[j, s]: probability of a right answer to item j, of those first..last, among learners of sum score s.

    `curves` (n_items, n_nodes) are the probabilities of a right answer, `weights` (n_nodes,) the latent distribution.
    Scores are distributed by the recursion of Lord and Wingersky (1984), over the other items.
    """
    n_items, n_nodes = curves.shape
    scores = np.empty((n_items + 1, n_nodes))
    for j in range(first, last):
        scores[:] = 0.0
        scores[0] = 1.0
        done = 0
        for i in range(n_items):
            if i == j:
                continue
            for s in range(done, -1, -1):
                for k in range(n_nodes):
                    moved = scores[s, k] * curves[i, k]
                    scores[s + 1, k] += moved
                    scores[s, k] -= moved
            done += 1
        for s in range(1, n_items):
            right = total = 0.0
            for k in range(n_nodes):
                p = curves[j, k]
                of_right = weights[k] * p * scores[s - 1, k]
                right += of_right
                total += of_right + weights[k] * (1.0 - p) * scores[s, k]
            expected[j, s] = right / total


@kernel
def residual_sums(
    first: int,
    last: int,
    blocks: Integers,
    touch_ptr: Integers,
    codes: AnyInteger,
    starts: Integers,
    members: AnyInteger,
    posterior: Floats,
    functions: Floats,
    scores: Floats,
    information: Floats,
) -> None:
    """Add scores and information of the functions tested over the given blocks, for answers first..last.

    `functions` (codes, groups, nodes, LANES) holds `LANES` functions side by side, so that their sums over the nodes
    make vector instructions: first 1 over the probability of the answer, then the functions tested times x - P. With p
    the probability of the answer given the learner's other answers and u its score, the score of the contrary answer is
    -u p / (1 - p), so that the information given the others is u u' p / (1 - p).
    """
    n_groups, width = functions.shape[1], functions.shape[2]
    n_functions = scores.shape[1]
    u = np.empty(n_groups * LANES)
    for slot in range(len(blocks)):
        low, high = touch_ptr[blocks[slot]], touch_ptr[blocks[slot] + 1]
        at = low + np.searchsorted(codes[low:high], first)
        while at < high and codes[at] < last:
            code = codes[at]
            for member in members[starts[at] : starts[at + 1]]:
                row = posterior[slot * BLOCK + member]
                for g in range(n_groups):
                    beside = functions[code, g]
                    u0 = u1 = u2 = u3 = u4 = u5 = u6 = u7 = 0.0
                    for k in range(width):
                        weight = row[k]
                        u0 += weight * beside[k, 0]
                        u1 += weight * beside[k, 1]
                        u2 += weight * beside[k, 2]
                        u3 += weight * beside[k, 3]
                        u4 += weight * beside[k, 4]
                        u5 += weight * beside[k, 5]
                        u6 += weight * beside[k, 6]
                        u7 += weight * beside[k, 7]
                    of_group = u[g * LANES : (g + 1) * LANES]
                    of_group[0], of_group[1], of_group[2], of_group[3] = u0, u1, u2, u3
                    of_group[4], of_group[5], of_group[6], of_group[7] = u4, u5, u6, u7
                odds = 1.0 / (u[0] - 1.0) if u[0] > 1.0 + SURE else 0.0
                for m in range(n_functions):
                    scores[code, m] += u[m + 1]
                    for n in range(m + 1):
                        information[code, m, n] += u[m + 1] * u[n + 1] * odds
            at += 1


@kernel
def predict(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    table: Floats,
    curves: Floats,
    matching: AnyInteger,
    log_prior: Floats,
    group: AnyInteger,
    predicted: Floats,
) -> None:
    """Log-odds of a right answer given the learner's other answers, for every answer of learners first..last.

    `table` holds log Q and log P of the items (0 for those that do not match learners), `curves` Q and P of all.
    """
    width = table.shape[1]
    row, bits, lanes = np.empty(width), np.empty(width, dtype=np.int64), np.empty(LANES)
    for i in range(first, last):
        row[:] = log_prior[group[i]]
        own = answers[indptr[i] : indptr[i + 1]]
        add_rows(table, own, 0, row)
        normalise(row, bits, lanes)
        for at in range(indptr[i], indptr[i + 1]):
            j, right = answers[at] >> 1, answers[at] & 1
            wrong_curve, right_curve = curves[2 * j], curves[2 * j + 1]
            p = q = 0.0
            if not matching[j]:
                for k in range(width):
                    p += row[k] * right_curve[k]
                    q += row[k] * wrong_curve[k]
            elif right:
                p = 1.0
                for k in range(width):
                    q += row[k] * (wrong_curve[k] / right_curve[k])
            else:
                q = 1.0
                for k in range(width):
                    p += row[k] * (right_curve[k] / wrong_curve[k])
            predicted[at] = log(p) - log(q)


@kernel
def solve(information: Floats, gradient: Floats, n: int, step: Floats) -> bool:
    """Solve the leading n equations of information @ step = gradient; whether the matrix is positive definite."""
    factor = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = information[i, j]
            for m in range(j):
                total -= factor[i, m] * factor[j, m]
            if i == j:
                if not total > 1e-10 * information[i, i]:
                    return False
                factor[i, i] = sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(n):
        total = gradient[i]
        for m in range(i):
            total -= factor[i, m] * step[m]
        step[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = step[i]
        for m in range(i + 1, n):
            total -= factor[m, i] * step[m]
        step[i] = total / factor[i, i]
    return True


@kernel
def fit_logistic(
    n: int, right: AnyInteger, covariate: Floats, focal: AnyInteger, beta: Floats, information: Floats
) -> float:
    """Log-likelihood at its maximum of the leading n of the terms 1, covariate, focal, focal * covariate.

    `beta` begins at the values given. NaN where there is no finite maximum.
    """
    gradient, step, z = np.zeros(4), np.zeros(4), np.zeros(4)
    value = nan
    for _ in range(MOST_STEPS):
        gradient[:] = 0.0
        information[:] = 0.0
        value = 0.0
        for i in range(len(right)):
            z[0], z[1], z[2], z[3] = 1.0, covariate[i], focal[i], focal[i] * covariate[i]
            eta = 0.0
            for m in range(n):
                eta += beta[m] * z[m]
            e = exp(-abs(eta))
            p = (1.0 if eta > 0.0 else e) / (1.0 + e)
            value += (eta if right[i] else 0.0) - (eta if eta > 0.0 else 0.0) - log(1.0 + e)
            weight = e / (1.0 + e) ** 2
            for m in range(n):
                gradient[m] += (right[i] - p) * z[m]
                for o in range(m + 1):
                    information[m, o] += weight * z[m] * z[o]
        for m in range(n):
            for o in range(m):
                information[o, m] = information[m, o]
        if not solve(information, gradient, n, step):
            return nan
        largest = 0.0
        for m in range(n):
            largest = max(largest, abs(step[m]))
        if largest < STEP_TOLERANCE:
            return value
        for m in range(n):
            beta[m] += step[m] * min(1.0, 2.0 / largest)
            if abs(beta[m]) > LARGEST_COEFFICIENT:
                return nan
    return nan


@kernel
def compare_groups(
    first: int,
    last: int,
    ptr: Integers,
    right: AnyInteger,
    covariate: Floats,
    stratum: AnyInteger,
    focal: AnyInteger,
    n_strata: int,
    mantel_haenszel: Floats,
    logistic: Floats,
) -> None:
    """Compare a focal with a reference group in the answers to items first..last, which lie from ptr[j] to ptr[j + 1].

    Row j of `mantel_haenszel`: log of the common odds ratio of a right answer (focal over reference), its error
    (Robins, Breslow and Greenland, 1986), and the chi-square without continuity correction. Row j of `logistic`:
    log-likelihoods of the terms 1; and covariate; and group; and group * covariate; effect of the group without the
    last and its error.
    """
    cells = np.empty((n_strata, 2, 2))
    beta, information = np.zeros(4), np.zeros((4, 4))
    for j in range(first, last):
        mantel_haenszel[j] = nan
        logistic[j] = nan
        low, high = ptr[j], ptr[j + 1]
        cells[:] = 0.0
        for i in range(low, high):
            cells[stratum[i], focal[i], right[i]] += 1.0
        numerator = denominator = pr = ps_qr = qs = excess = variance = 0.0
        for s in range(n_strata):
            wrong_0, right_0, wrong_1, right_1 = cells[s, 0, 0], cells[s, 0, 1], cells[s, 1, 0], cells[s, 1, 1]
            n_0, n_1 = wrong_0 + right_0, wrong_1 + right_1
            n = n_0 + n_1
            if n_0 == 0.0 or n_1 == 0.0:
                continue
            r, t = right_1 * wrong_0 / n, wrong_1 * right_0 / n
            p, q = (right_1 + wrong_0) / n, (wrong_1 + right_0) / n
            numerator += r
            denominator += t
            pr += p * r
            ps_qr += p * t + q * r
            qs += q * t
            m = right_0 + right_1
            excess += right_1 - n_1 * m / n
            if n > 1.0:
                variance += n_0 * n_1 * m * (n - m) / (n * n * (n - 1.0))
        if numerator > 0.0 and denominator > 0.0:
            mantel_haenszel[j, 0] = log(numerator / denominator)
            mantel_haenszel[j, 1] = sqrt(
                pr / (2.0 * numerator**2) + ps_qr / (2.0 * numerator * denominator) + qs / (2.0 * denominator**2)
            )
            if variance > 0.0:
                mantel_haenszel[j, 2] = excess * excess / variance
        n_right = 0.0
        for i in range(low, high):
            n_right += right[i]
        n = float(high - low)
        if n_right == 0.0 or n_right == n:
            continue
        logistic[j, 0] = n_right * log(n_right / n) + (n - n_right) * log(1.0 - n_right / n)
        beta[:] = 0.0
        beta[0] = log(n_right / (n - n_right))
        for terms in range(2, 5):
            value = fit_logistic(terms, right[low:high], covariate[low:high], focal[low:high], beta, information)
            logistic[j, terms - 1] = value
            if value != value:
                break
            if terms == 3:
                logistic[j, 4] = beta[2]
                unit, column = np.zeros(4), np.zeros(4)
                unit[2] = 1.0
                if solve(information, unit, 3, column):
                    logistic[j, 5] = sqrt(column[2])


@kernel
def log_likelihood_fit(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    active: AnyInteger,
    theta: Floats,
    prior_score: Floats,
    plain: Floats,
    corrected: Floats,
) -> None:
    """Statistics lz and lz* of learners first..last at theta; NaN where the answers leave no variance.

    `prior_score` is the derivative of the log prior at theta of a posterior mode, inf for Warm's estimate.
    """
    for i in range(first, last):
        plain[i] = corrected[i] = nan
        if theta[i] != theta[i]:
            continue
        deviation = variance = cross = information = bias = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            j = answers[at] >> 1
            if not active[j]:
                continue
            p, q, slope, bend = curve(theta[i], a[j], d[j], c[j])
            w = log(p / q)
            deviation += ((answers[at] & 1) - p) * w
            variance += p * q * w * w
            cross += slope * w
            information += slope * slope / (p * q)
            bias += slope * bend / (p * q)
        if not (variance > 0.0 and information > 0.0):
            continue
        plain[i] = deviation / sqrt(variance)
        ratio = cross / information
        r0 = bias / (2.0 * information) if prior_score[i] == inf else prior_score[i]
        reduced = variance - ratio * cross
        if reduced > 1e-9 * variance:
            corrected[i] = (deviation + ratio * r0) / sqrt(reduced)


@kernel
def residual_squares(
    indptr: Integers,
    answers: AnyInteger,
    a: Floats,
    d: Floats,
    c: Floats,
    theta: Floats,
    least_variance: float,
    sums: Floats,
) -> None:
    """Add to sums[j], over the answers to item j: 1, (x - P)^2, P Q and (x - P)^2 / (P Q); P Q is at least as given."""
    for i in range(len(theta)):
        for answer in answers[indptr[i] : indptr[i + 1]]:
            j = answer >> 1
            z = a[j] * theta[i] + d[j]
            e = exp(-abs(z))
            p = c[j] + (1.0 - c[j]) * (1.0 if z > 0.0 else e) / (1.0 + e)
            variance = max(p * (1.0 - p), least_variance)
            square = ((answer & 1) - p) ** 2
            own = sums[j]
            own[0] += 1.0
            own[1] += square
            own[2] += variance
            own[3] += square / variance


@kernel
def curve(theta: float, a: float, d: float, c: float) -> tuple[float, float, float, float]:
    """P, Q and the first and second derivatives of P at theta; P and Q never 0."""
    z = a * theta + d
    e = exp(-abs(z))
    s = (1.0 if z > 0.0 else e) / (1.0 + e)
    not_s = (e if z > 0.0 else 1.0) / (1.0 + e)
    p = max(c + (1.0 - c) * s, 1e-300)
    q = max((1.0 - c) * not_s, 1e-300)
    slope = a * (1.0 - c) * s * not_s
    return p, q, slope, slope * a * (not_s - s)


@kernel
def pair_sums(
    first: int, last: int, start: int, indptr: Integers, items: AnyInteger, residual: Floats, sums: Floats
) -> None:
    """Sums over the learners who answered two items, one of first..last and a later one, which rows stand in order.

    sums[j - start, k] = how many they are, then the sums of e_j e_k, e_j, e_k, e_j^2 and e_k^2.
    """
    for i in range(len(indptr) - 1):
        low, high = indptr[i], indptr[i + 1]
        for at in range(low + np.searchsorted(items[low:high], first), high):
            j, e = items[at], residual[at]
            if j >= last:
                break
            row = sums[j - start]
            for other in range(at + 1, high):
                f = residual[other]
                into = row[items[other]]
                into[0] += 1.0
                into[1] += e * f
                into[2] += e
                into[3] += f
                into[4] += e * e
                into[5] += f * f
