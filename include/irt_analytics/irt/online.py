"""One learner's ability from answers as they come, the same as `estimate_abilities` gives for all of them at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from irt_analytics.irt._items import ItemParameters
from irt_analytics.irt._kernels import abilities as kernels
from irt_analytics.irt._text import quoted
from irt_analytics.irt._workers import workers
from irt_analytics.irt.abilities import answer_curves, closer_nodes, latent_nodes, prior_of_learners

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Answers = NDArray[np.int32]

_DIGEST_BYTES = 16
_FIRST_ROOM = 64


class OnlineBank:
    """Items of known parameters and the prior of theta, prepared for learners whose answers come one by one.

    The curves of all items are tabulated once, on the grid that `estimate_abilities` sums over and on the closer one of
    narrow posteriors, 5 kilobytes an item together; an answer then adds one row of the table to the learner's
    log-posterior.

        bank = OnlineBank(fit.items)
        learner = bank.start()
        theta, se = learner.add("q17", correct=True)

    Args:
        items: one row per item: item_id, a, b and, optionally, c; no item twice.
        prior: mean and sd of the normal prior. Default: that of the calibration, which `items.attrs` carries as
            latent_mean and latent_sd.

    Raises:
        ValueError: a prior that is absent or not positive, or item parameters out of range.
    """

    def __init__(self, items: pd.DataFrame, prior: tuple[float, float] | None = None) -> None:
        mean, sd = prior_of_learners(prior, items, pd.Index(["anybody"]))
        ids = pd.Index(items["item_id"]) if "item_id" in items else pd.Index([])
        self._parameters = ItemParameters.from_frame(items, ids, "items")
        self._curves = self._parameters.a, self._parameters.d, self._parameters.c, self._parameters.active
        self._position = {item: position for position, item in enumerate(ids)}
        self._ids = ids
        self.prior = float(mean[0]), float(sd[0])
        self._nodes = latent_nodes(mean, sd)
        self._closer_nodes = closer_nodes(self._nodes)
        with workers() as run:
            self._table = answer_curves(self._parameters, self._nodes, run)
            self._closer_table = answer_curves(self._parameters, self._closer_nodes, run)
        self._digest = self._fingerprint()

    def start(self) -> OnlineAbility:
        """A learner without answers: theta and se are the prior's mean and sd."""
        log_prior = np.empty(self._table.shape[1])
        kernels.log_prior(self._nodes, *self.prior, log_prior)
        return OnlineAbility(self, log_prior, np.empty(0, dtype=np.int32))

    def restore(self, state: bytes) -> OnlineAbility:
        """The learner whose `OnlineAbility.state` this is.

        Raises:
            ValueError: it is of other items, parameters or another prior: add that learner's answers to `start()`.
        """
        width = 8 * self._table.shape[1]
        digest, rest = state[:_DIGEST_BYTES], state[_DIGEST_BYTES:]
        if digest != self._seal(rest):
            raise ValueError(
                "this state was kept of another bank or prior, whose posterior means nothing under this one, or it is "
                "damaged; add the learner's answers to start()"
            )
        log_posterior = np.frombuffer(rest[:width], dtype="<f8").astype(np.float64)
        return OnlineAbility(self, log_posterior, np.frombuffer(rest[width:], dtype="<i4").astype(np.int32))

    def __contains__(self, item_id: Hashable) -> bool:
        return item_id in self._position

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256(repr([quoted(item) for item in self._ids]).encode())
        digest.update(np.array([*self.prior]).tobytes())
        for values in (self._nodes, *self._curves):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.digest()

    def _seal(self, content: bytes) -> bytes:
        """What a state of this bank begins with."""
        return hashlib.sha256(self._digest + content).digest()[:_DIGEST_BYTES]


class OnlineAbility:
    """EAP of one learner: mean `theta` and sd `se` of the posterior given the answers added so far."""

    def __init__(self, bank: OnlineBank, log_posterior: Floats, answers: Answers) -> None:
        self._bank = bank
        self._log_posterior = log_posterior
        self._n = len(answers)
        self._answers = np.empty(max(_FIRST_ROOM, 2 * self._n), dtype=np.int32)
        self._answers[: self._n] = answers
        self._answered = set((answers >> 1).tolist())
        self.theta, self.se = self._moments()

    @property
    def n_responses(self) -> int:
        """Answers behind theta."""
        return self._n

    def add(self, item_id: Hashable, correct: bool) -> tuple[float, float]:
        """Take the learner's first answer to an item into account and return the new theta and se.

        The order in which answers are added does not matter.

        Raises:
            KeyError: the bank has no such item.
            ValueError: the item is answered already, or `correct` is neither true nor false.
        """
        bank = self._bank
        position = bank._position.get(item_id)
        if position is None:
            raise KeyError(f"the bank has no item {quoted(item_id)}")
        if position in self._answered:
            raise ValueError(
                f"item {quoted(item_id)} is answered already: a repeated item measures memory of the feedback"
            )
        if correct not in (0, 1):
            raise ValueError(f"correct must be true or false, got {quoted(correct)} for item {quoted(item_id)}")
        if self._n == len(self._answers):
            self._answers = np.concatenate([self._answers, np.empty_like(self._answers)])
        self._answers[self._n] = 2 * position + int(correct)
        self._n += 1
        self._answered.add(position)
        self._log_posterior += bank._table[self._answers[self._n - 1]]
        self.theta, self.se = self._moments()
        return self.theta, self.se

    def state(self) -> bytes:
        """All of it, to be kept for `OnlineBank.restore` of the same bank: half a kilobyte and 4 bytes an answer."""
        content = self._log_posterior.astype("<f8").tobytes() + self._answers[: self._n].astype("<i4").tobytes()
        return self._bank._seal(content) + content

    def _moments(self) -> tuple[float, float]:
        bank = self._bank
        mean, sd = bank.prior
        return kernels.carried_moments(
            self._log_posterior,
            bank._nodes,
            mean,
            sd,
            self._answers[: self._n],
            *bank._curves,
            bank._closer_table,
            bank._closer_nodes,
        )
