"""E-step over the blocks of learners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from irt_analytics.irt._kernels import model
from irt_analytics.irt._kernels import posterior as kernels
from irt_analytics.irt._kernels.posterior import BLOCK
from irt_analytics.irt._kernels.rows import LANES
from irt_analytics.irt._workers import Workers, split_evenly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from irt_analytics.irt._items import ItemParameters
    from irt_analytics.irt.responses import Responses

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

# In doubles: a large page of x86-64, the least array for which numpy asks for them, and what is worth one.
_LARGE_PAGE, _ASKED_FROM, _MANY = 2**18, 2**19, 2**16
# Log-prior of the nodes that pad the grid.
_NO_WEIGHT = -1e300


@dataclass(frozen=True)
class Expectation:
    """What an E-step yields.

    Attributes:
        log_likelihood: marginal log-likelihood of the answers, in nats.
        counts: expected number of learners at every node by answer, shape (2 * n_items, n_nodes padded); rows 2j and
            2j + 1 are wrong and right answers to item j.
        abilities: sum of the posteriors by group, shape (n_groups, n_nodes).
    """

    log_likelihood: float
    counts: Floats
    abilities: Floats


def pad(n_nodes: int) -> int:
    """Number of columns of a table over `n_nodes` nodes."""
    return -(-n_nodes // LANES) * LANES


def in_large_pages(shape: tuple[int, ...]) -> Floats:
    """Zeros, many of them from the beginning of a large page, where the system has those for the asking.

    Rows are read in random order: on small pages up to a third of the time is spent on finding where they lie. numpy
    asks for large ones where an array has 4 MiB or more.
    """
    size = int(np.prod(shape))
    if size < _MANY:
        return np.zeros(shape)
    pages = np.zeros(max(size + _LARGE_PAGE, _ASKED_FROM))
    start = -(pages.ctypes.data // pages.itemsize) % _LARGE_PAGE
    return pages[start : start + size].reshape(shape)


def normal_log_weights(theta: Floats, mean: Floats, sd: Floats) -> Floats:
    """Log weights of N(mean, sd^2) at equally spaced nodes, normalised to sum 1; shape (n_groups, n_nodes padded)."""
    log_density = -0.5 * ((theta - mean[:, None]) / sd[:, None]) ** 2
    top = log_density.max(axis=1, keepdims=True)
    log_density -= top + np.log(np.exp(log_density - top).sum(axis=1, keepdims=True))
    padded = np.full((len(mean), pad(len(theta))), _NO_WEIGHT)
    padded[:, : len(theta)] = log_density
    return padded


class Blocks:
    """The answers by blocks of learners, in both orders: by learner and, within a block, by answer."""

    def __init__(self, responses: Responses, group: NDArray[np.int32], n_groups: int, run: Workers) -> None:
        self.responses = responses
        self.group = group
        self.n_groups = n_groups
        self.n_blocks = -(-responses.n_students // BLOCK)
        self._run = run
        self._n_codes = 2 * responses.n_items
        self._touch_ptr = np.zeros(self.n_blocks + 1, dtype=np.int64)
        edges = np.minimum(np.arange(self.n_blocks + 1) * BLOCK, responses.n_students)
        ranges = split_evenly(responses.indptr[edges], run.threads)
        run(kernels.count_touched, ranges, responses.indptr, responses.answers, self._n_codes, self._touch_ptr)
        np.cumsum(self._touch_ptr, out=self._touch_ptr)
        self._codes = np.empty(self._touch_ptr[-1], dtype=np.int32)
        self._starts = np.empty(self._touch_ptr[-1] + 1, dtype=np.int64)
        self._starts[-1] = responses.n_responses
        self._members = np.empty(responses.n_responses, dtype=np.uint16)
        run(
            kernels.transpose_blocks,
            ranges,
            responses.indptr,
            responses.answers,
            self._n_codes,
            self._touch_ptr,
            self._codes,
            self._starts,
            self._members,
        )
        by_code = np.concatenate([[0], np.cumsum(responses.item_counts().ravel())])
        self._code_ranges = split_evenly(by_code, run.threads)

    def expectation(
        self, items: ItemParameters, theta: Floats, log_prior: Floats, blocks: Integers | None = None
    ) -> Expectation:
        """E-step at the given parameters, over all blocks or those listed.

        The result does not depend on the number of threads.
        """
        counts = in_large_pages((self._n_codes, pad(len(theta))))
        log_likelihood = 0.0
        abilities = np.zeros((self.n_groups, pad(len(theta))))
        for wave, posterior, log_marginal in self.posteriors(items, theta, log_prior, blocks):
            likelihoods = np.zeros(len(wave))
            sums = np.zeros((len(wave), self.n_groups, pad(len(theta))))
            slots = [(slot, slot + 1) for slot in range(len(wave))]
            self._run(kernels.block_sums, slots, wave, self.group, posterior, log_marginal, likelihoods, sums)
            for likelihood, block in zip(likelihoods, sums, strict=True):
                log_likelihood += float(likelihood)
                abilities += block
            self.over_answers(kernels.add_counts, wave, posterior, counts)
        return Expectation(log_likelihood, counts, abilities[:, : len(theta)])

    def over_answers(self, kernel: Callable[..., None], wave: Integers, *args: Any) -> None:
        """Run a kernel over ranges of the answers (item and correctness) that the learners of a wave gave."""
        self._run(kernel, self._code_ranges, wave, self._touch_ptr, self._codes, self._starts, self._members, *args)

    def posteriors(
        self, items: ItemParameters, theta: Floats, log_prior: Floats, blocks: Integers | None = None
    ) -> Iterator[tuple[Integers, Floats, Floats]]:
        """Waves of blocks with their posterior weights.

        Yields:
            the blocks' numbers; the weights, a row for each place of each block; the log marginal likelihoods. The
            arrays are reused for the next wave.
        """
        table = in_large_pages((self._n_codes, pad(len(theta))))
        self._run(
            model.log_curves,
            split_evenly(np.arange(self.responses.n_items + 1), self._run.threads),
            items.a,
            items.d,
            items.g,
            items.active,
            theta,
            table,
        )
        chosen = np.arange(self.n_blocks) if blocks is None else blocks
        size = min(self._run.threads, len(chosen))
        posterior, log_marginal = in_large_pages((size * BLOCK, table.shape[1])), np.empty(size * BLOCK)
        slots = np.zeros(self.n_blocks, dtype=np.int64)
        for start in range(0, len(chosen), max(size, 1)):
            wave = chosen[start : start + size]
            slots[wave] = np.arange(len(wave))
            parts = -(-self._run.threads // len(wave))
            ranges = [learners for block in wave for learners in self._learners(int(block), parts)]
            self._run(
                kernels.posterior_rows,
                ranges,
                self.responses.indptr,
                self.responses.answers,
                table,
                log_prior,
                self.group,
                slots,
                posterior,
                log_marginal,
            )
            yield wave, posterior, log_marginal

    def _learners(self, block: int, parts: int) -> list[tuple[int, int]]:
        last = min((block + 1) * BLOCK, self.responses.n_students)
        return split_evenly(self.responses.indptr, parts, block * BLOCK, last)
