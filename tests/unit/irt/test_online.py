"""Ability answer by answer: what a lesson shows now must be what the night says."""

import numpy as np
import pandas as pd
import pytest

from irt_analytics.irt import OnlineBank, Responses, calibrate, estimate_abilities
from irt_analytics.irt.calibrate import Model

N_ITEMS = 150


def random_bank(model: Model, rng: np.random.Generator) -> pd.DataFrame:
    items = pd.DataFrame({"item_id": [f"q{j}" for j in range(N_ITEMS)], "b": rng.normal(0.0, 1.2, N_ITEMS)})
    items["a"] = 1.0 if model == "Rasch" else np.exp(rng.normal(0.2, 0.4, N_ITEMS))
    items["c"] = rng.uniform(0.05, 0.3, N_ITEMS) if model == "3PL" else 0.0
    return items


@pytest.mark.parametrize("model", ["Rasch", "2PL", "3PL"])
@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.7, 1.6)], ids=str)
def test_answers_one_at_a_time_in_any_order_give_the_nightly_value(model: Model, prior: tuple[float, float]) -> None:
    """A learner would otherwise jump at night for no answer; long patterns are narrower than the grid of the EAP."""
    rng = np.random.default_rng(7)
    items = random_bank(model, rng)
    online = OnlineBank(items, prior)
    narrow = 0
    for n in [1, 2, 5, 12, 30, 60, 100, N_ITEMS] * 5:
        chosen = rng.permutation(N_ITEMS)[:n]
        share = rng.choice([0.0, 0.3, 0.6, 0.9, 1.0])
        correct = rng.random(n) < share
        ids = items["item_id"].to_numpy()[chosen]
        nightly = estimate_abilities(Responses.from_long(["s"] * n, ids, correct), items, prior=prior).iloc[0]
        learner = online.start()
        halfway = n // 2
        for k, (item, right) in enumerate(zip(ids, correct, strict=True)):
            if k == halfway:
                learner = online.restore(learner.state())
            learner.add(item, bool(right))
        assert learner.theta == pytest.approx(nightly["theta"], abs=1e-10, rel=0)
        assert learner.se == pytest.approx(nightly["se"], abs=1e-10, rel=0)
        assert learner.n_responses == nightly["n_responses"] == n
        narrow += learner.se < 0.2 * prior[1]
    assert narrow, "some posteriors should be narrower than the spacing of the nodes"


def test_the_prior_of_a_calibration_is_the_learner_s_before_any_answer() -> None:
    """A newcomer starts where the population is, on the published scale."""
    rng = np.random.default_rng(3)
    student, item = np.divmod(np.arange(400 * 12), 12)
    correct = rng.random(len(item)) < 1 / (1 + np.exp(item / 4 - 1.5 - rng.normal(0, 1, 400)[student]))
    fit = calibrate(Responses.from_long(student, item, correct), model="Rasch")
    online = OnlineBank(fit.items)
    newcomer = online.start()
    assert newcomer.theta == pytest.approx(fit.latent_mean, abs=1e-6)
    assert newcomer.se == pytest.approx(fit.latent_sd, abs=1e-6)
    assert newcomer.add(3, True)[0] > fit.latent_mean > online.start().add(3, False)[0]


def test_what_is_kept_is_complete_small_and_of_its_bank() -> None:
    """A state restored under tomorrow's bank would mix two scales and say nothing."""
    items = random_bank("2PL", np.random.default_rng(1))
    online = OnlineBank(items, (0.0, 1.0))
    learner = online.start()
    for j in range(20):
        learner.add(f"q{j}", j % 3 == 0)
    kept = learner.state()
    assert len(kept) < 1000
    again = OnlineBank(items.copy(), (0.0, 1.0)).restore(kept)
    assert (again.theta, again.se, again.n_responses) == (learner.theta, learner.se, 20)
    assert again.add("q50", True) == learner.add("q50", True)
    others = [
        OnlineBank(items, (0.0, 1.1)),
        OnlineBank(items.assign(a=items["a"] * 1.0001), (0.0, 1.0)),
        OnlineBank(items.assign(item_id=items["item_id"].to_numpy()[::-1]), (0.0, 1.0)),
    ]
    for other in others:
        with pytest.raises(ValueError, match="another bank or prior"):
            other.restore(kept)
    for broken in (kept[:100], kept[:-1], kept[:-4], kept[:-1] + b"\x7f"):
        with pytest.raises(ValueError, match="another bank or prior"):
            online.restore(broken)


def test_an_answer_that_does_not_count_is_refused_by_name_and_changes_nothing() -> None:
    """Left out in silence it would be taken for one that moved nothing."""
    online = OnlineBank(random_bank("2PL", np.random.default_rng(1)), (0.0, 1.0))
    learner = online.start()
    learner.add("q1", True)
    before = learner.state()
    with pytest.raises(KeyError, match="no item 'nope'"):
        learner.add("nope", True)
    with pytest.raises(ValueError, match="'q1' is answered already"):
        learner.add("q1", False)
    with pytest.raises(ValueError, match="true or false, got 2 for item 'q2'"):
        learner.add("q2", 2)  # type: ignore[arg-type]
    assert learner.state() == before
    assert "q2" in online
    assert "nope" not in online
