"""E-step: posterior weights of the learners over the grid of abilities, and expected counts of the items.

Every grid row is padded to a multiple of `LANES` nodes, whose log-prior is so low that their weight is zero for all
purposes; the loops over nodes then have no remainder and become vector instructions.
"""

from math import log

import numpy as np

from irt_analytics.irt._kernels.jit import AnyInteger, Floats, Integers, kernel
from irt_analytics.irt._kernels.rows import LANES, add_rows, largest

# Learners in a block; sums are taken within a block in the order of learners, and over blocks in their order.
BLOCK = 4096

LOG2_E = 1.4426950408889634
# ln 2 split so that n * LN2_HIGH is exact for |n| < 2^11 (Cody and Waite, 1980).
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
# Adding it leaves the nearest integer in the low bits of a double's significand.
ROUNDER = 6755399441055744.0
LOWEST_EXPONENT = -700.0


@kernel
def exp_row(x: Floats, bits: Integers) -> None:
    """Replace x, at most 0, by exp(x); below -700 by exp(-700). `bits` is scratch space of the same length.

    Argument reduction by powers of two and a Taylor polynomial of degree 12 on [-ln 2 / 2, ln 2 / 2], whose remainder
    is under 2e-16: only additions, products and shifts, so that the loop over the row becomes vector instructions and
    gives the same bits on every processor.
    """
    shifted = bits.view(np.float64)
    for k in range(len(x)):
        y = x[k] if x[k] > LOWEST_EXPONENT else LOWEST_EXPONENT
        shifted[k] = y * LOG2_E + ROUNDER
        n = shifted[k] - ROUNDER
        r = (y - n * LN2_HIGH) - n * LN2_LOW
        p = 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        x[k] = p * r + 1.0
    for k in range(len(x)):
        bits[k] = (bits[k] + 1023) << 52
    for k in range(len(x)):
        x[k] *= shifted[k]


@kernel
def normalise(row: Floats, bits: Integers, lanes: Floats) -> float:
    """Turn log-weights into weights that sum to 1; the log of the sum they had."""
    top = largest(row)
    for k in range(len(row)):
        row[k] -= top
    exp_row(row, bits)
    lanes[:] = 0.0
    for k0 in range(0, len(row), LANES):
        for lane in range(LANES):
            lanes[lane] += row[k0 + lane]
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    scale = 1.0 / total
    for k in range(len(row)):
        row[k] *= scale
    log_sum: float = top + log(total)
    return log_sum


@kernel
def posterior_rows(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    table: Floats,
    log_prior: Floats,
    group: AnyInteger,
    slots: Integers,
    posterior: Floats,
    log_marginal: Floats,
) -> None:
    """Posterior weights and log marginal likelihoods of learners first..last.

    `table` holds log Q and log P of the items, `log_prior` a row for each group. The learner's row of `posterior` is
    that of its place in its block, the blocks standing at the positions `slots` gives them.
    """
    bits, lanes = np.empty(table.shape[1], dtype=np.int64), np.empty(LANES)
    for i in range(first, last):
        place = slots[i // BLOCK] * BLOCK + i % BLOCK
        row = posterior[place]
        row[:] = log_prior[group[i]]
        add_rows(table, answers[indptr[i] : indptr[i + 1]], 0, row)
        log_marginal[place] = normalise(row, bits, lanes)


@kernel
def block_sums(
    first: int,
    last: int,
    blocks: Integers,
    group: AnyInteger,
    posterior: Floats,
    log_marginal: Floats,
    log_likelihood: Floats,
    abilities: Floats,
) -> None:
    """Log-likelihood and, by group, the sum of the posteriors, of the blocks at positions first..last."""
    for slot in range(first, last):
        abilities[slot] = 0.0
        total = 0.0
        start = blocks[slot] * BLOCK
        for i in range(start, min(start + BLOCK, len(group))):
            place = slot * BLOCK + i - start
            total += log_marginal[place]
            row, into = posterior[place], abilities[slot, group[i]]
            for k in range(len(row)):
                into[k] += row[k]
        log_likelihood[slot] = total


@kernel
def count_touched(
    first: int, last: int, indptr: Integers, answers: AnyInteger, n_codes: int, touched: Integers
) -> None:
    """touched[b + 1] = number of different answers (item and correctness) in block b, for blocks first..last."""
    seen = np.full(n_codes, -1, dtype=np.int64)
    n = len(indptr) - 1
    for block in range(first, last):
        total = 0
        for j in range(indptr[block * BLOCK], indptr[min((block + 1) * BLOCK, n)]):
            if seen[answers[j]] != block:
                seen[answers[j]] = block
                total += 1
        touched[block + 1] = total


@kernel
def transpose_blocks(
    first: int,
    last: int,
    indptr: Integers,
    answers: AnyInteger,
    n_codes: int,
    touch_ptr: Integers,
    codes: AnyInteger,
    starts: Integers,
    members: AnyInteger,
) -> None:
    """List, for blocks first..last, the answers that occur and under each the learners (by place) that gave it."""
    cursor = np.zeros(n_codes, dtype=np.int64)
    n = len(indptr) - 1
    for block in range(first, last):
        low, high = block * BLOCK, min((block + 1) * BLOCK, n)
        cursor[:] = 0
        for j in range(indptr[low], indptr[high]):
            cursor[answers[j]] += 1
        at, position = touch_ptr[block], indptr[low]
        for code in range(n_codes):
            if cursor[code]:
                codes[at] = code
                starts[at] = position
                at += 1
                position += cursor[code]
                cursor[code] = position - cursor[code]
        for i in range(low, high):
            for j in range(indptr[i], indptr[i + 1]):
                members[cursor[answers[j]]] = i - low
                cursor[answers[j]] += 1


@kernel
def add_counts(
    first: int,
    last: int,
    blocks: Integers,
    touch_ptr: Integers,
    codes: AnyInteger,
    starts: Integers,
    members: AnyInteger,
    posterior: Floats,
    counts: Floats,
) -> None:
    """Add the expected counts of answers first..last over the given blocks, block by block."""
    total = np.empty(posterior.shape[1])
    for slot in range(len(blocks)):
        low, high = touch_ptr[blocks[slot]], touch_ptr[blocks[slot] + 1]
        at = low + np.searchsorted(codes[low:high], first)
        rows = posterior[slot * BLOCK : (slot + 1) * BLOCK]
        while at < high and codes[at] < last:
            total[:] = 0.0
            add_rows(rows, members[starts[at] : starts[at + 1]], 0, total)
            into = counts[codes[at]]
            for k in range(len(total)):
                into[k] += total[k]
            at += 1
