"""Fill the cache of compiled kernels: `python -m irt_analytics.irt.precompile`, once for an image, not in every pod."""

from __future__ import annotations

from typing import get_args

import numpy as np

from irt_analytics.irt import OnlineBank, Responses, calibrate, estimate_abilities
from irt_analytics.irt.abilities import AbilityMethod
from irt_analytics.irt.calibrate import Model
from irt_analytics.irt.dif import differential_functioning
from irt_analytics.irt.item_fit import item_fit
from irt_analytics.irt.item_tests import curve_fit, score_fit
from irt_analytics.irt.local_dependence import local_dependence
from irt_analytics.irt.person_fit import person_fit
from irt_analytics.irt.topics import estimate_topic_abilities, estimate_topic_sd

#: A bank on either side of the size from which answers take 32 bits, each size with kernels of its own.
BANKS = (100, 33_000)
LEARNERS = 200
TOPICS = 4
#: Types that ids come in; arrays out of Arrow may not be written to, which is a type of its own to numba.
ID_TYPES = [np.dtype(f"{sign}{size}") for sign in "iu" for size in (1, 2, 4, 8)]


def precompile() -> None:
    """Run every path of the engine on little data, so that each kernel is compiled for the types it meets.

    Kernels go to NUMBA_CACHE_DIR, or beside their source, for the processor that NUMBA_CPU_NAME names.
    """
    rng = np.random.default_rng(0)
    for dtype in ID_TYPES:
        for writeable in (True, False):
            ids = np.arange(8, dtype=dtype)
            ids.flags.writeable = writeable
            Responses.from_long(ids, ids, ids % 2 == 0)
    for n_items in BANKS:
        answered = max(40, 5 * n_items // LEARNERS)
        student = np.repeat(np.arange(LEARNERS), answered)
        item = np.concatenate([rng.permutation(n_items)[:answered] for _ in range(LEARNERS)])
        correct = rng.random(len(item)) < 1 / (1 + np.exp(item % 7 - 3 - student % 5 / 2))
        half = len(item) // 2
        shards = [
            Responses.from_long(student[rows], item[rows], correct[rows]) for rows in (slice(half), slice(half, None))
        ]
        responses = Responses.concat(shards)
        for model in get_args(Model):
            fit = calibrate(responses, model=model, priors="weak", max_iterations=8)
        for method in get_args(AbilityMethod):
            estimate_abilities(responses, fit.items, method=method)
        # One learner's posterior is narrower than the grid that all are first summed over.
        narrow = np.where(np.arange(responses.n_students) == 0, 0.01, 1.0)
        estimate_abilities(responses, fit.items, prior=(0.0, narrow))
        OnlineBank(fit.items).start()
        some = fit.items.head(20)
        curve_fit(responses, some)
        item_fit(responses, some, np.zeros(responses.n_students))
        person_fit(responses, some)
        differential_functioning(responses, some, responses.student_ids.to_numpy() % 2, least_learners=1)
        local_dependence(responses, some, np.zeros(responses.n_students), least_joint=1)
        few = fit.items.iloc[:5]
        form = np.repeat(few["item_id"].to_numpy()[None, :], LEARNERS, axis=0).ravel()
        complete = Responses.from_long(np.repeat(np.arange(LEARNERS), 5), form, rng.random(form.size) < 0.5)
        score_fit(complete, few.assign(c=0.0), "2PL", (0.0, 1.0))
        by_topic = Responses.from_long(student * TOPICS + item % TOPICS, item, correct)
        learner = by_topic.student_ids.to_numpy() // TOPICS
        prior = (fit.latent_mean, fit.latent_sd)
        estimate_topic_sd(by_topic, fit.items, learner, prior)
        estimate_topic_abilities(by_topic, fit.items, learner, prior, tau=0.3)


if __name__ == "__main__":
    precompile()
