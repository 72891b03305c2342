"""What must hold of every calibration, whatever the answers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from irt_analytics.irt import Calibration, Responses, calibrate, estimate_abilities
from irt_analytics.irt._inverse import inverse
from irt_analytics.irt._kernels.posterior import exp_row
from irt_analytics.irt._workers import workers
from irt_analytics.irt.calibrate import Model

Simulate = Callable[..., tuple[Responses, pd.DataFrame, NDArray[np.float64]]]

TIGHT = 1e-7
MODELS = st.sampled_from(["2PL", "Rasch"])
SEEDS = st.integers(0, 10_000)
some = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def fit_of(frame: pd.DataFrame, model: Model) -> Calibration:
    responses = Responses.from_long(frame["student_id"], frame["item_id"], frame["correct"])
    return calibrate(responses, model=model, priors="weak", tolerance=TIGHT)


def assert_same_items(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Up to the rounding of sums taken in another order and the tolerance of the iteration."""
    pd.testing.assert_frame_equal(one, other, rtol=1e-5, atol=1e-5)


@some
@given(model=MODELS, seed=SEEDS)
def test_order_of_learners_and_items_changes_nothing(simulate: Simulate, model: Model, seed: int) -> None:
    frame = simulate(300, 12, 8, seed=seed)[0].to_frame()
    fit = fit_of(frame, model)
    rng = np.random.default_rng(seed)
    shuffled = fit_of(frame.sample(frac=1.0, random_state=seed), model)
    pd.testing.assert_frame_equal(fit.items, shuffled.items, check_exact=True)
    assert fit.log_likelihood == shuffled.log_likelihood

    learner, item = rng.permutation(300), rng.permutation(12)
    renamed = frame.assign(student_id=learner[frame["student_id"]], item_id=item[frame["item_id"]])
    other = fit_of(renamed, model)
    back = other.items.set_index("item_id").loc[item].reset_index()
    assert_same_items(fit.items, back.assign(item_id=np.arange(12)))
    assert fit.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)


@some
@given(model=MODELS, seed=SEEDS)
def test_twice_the_data_halves_squared_errors(simulate: Simulate, model: Model, seed: int) -> None:
    """Without priors; were it otherwise, intervals would be wrong for every size of cohort but one."""
    frame = simulate(600, 10, 10, seed=seed)[0].to_frame()
    twice = pd.concat([frame, frame.assign(student_id=frame["student_id"] + 600)])
    one, two = (
        calibrate(Responses.from_long(f["student_id"], f["item_id"], f["correct"]), model=model, tolerance=TIGHT)
        for f in (frame, twice)
    )
    np.testing.assert_allclose(two.items[["a", "b"]], one.items[["a", "b"]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(2 * two.items["se_b"] ** 2, one.items["se_b"] ** 2, rtol=1e-3)
    if model == "2PL":
        np.testing.assert_allclose(2 * two.items["se_a"] ** 2, one.items["se_a"] ** 2, rtol=1e-3)
    assert two.log_likelihood == pytest.approx(2 * one.log_likelihood, rel=1e-9)


@some
@given(seed=SEEDS, mean=st.floats(-2, 2), sd=st.floats(0.5, 2))
def test_another_scale_of_theta_moves_items_and_learners_with_it(
    simulate: Simulate, seed: int, mean: float, sd: float
) -> None:
    """theta' = mean + sd * theta: a' = a / sd, b' = mean + sd * b, and no answer is more or less likely."""
    responses = simulate(500, 10, 10, seed=seed)[0]
    standard, moved = calibrate(responses, tolerance=TIGHT), calibrate(responses, latent=(mean, sd), tolerance=TIGHT)
    np.testing.assert_allclose(moved.items["a"] * sd, standard.items["a"], rtol=1e-4)
    np.testing.assert_allclose((moved.items["b"] - mean) / sd, standard.items["b"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moved.items["se_b"] / sd, standard.items["se_b"], rtol=1e-3)
    assert moved.log_likelihood == pytest.approx(standard.log_likelihood, abs=1e-4)
    theta = estimate_abilities(responses, standard.items)["theta"]
    np.testing.assert_allclose((estimate_abilities(responses, moved.items)["theta"] - mean) / sd, theta, atol=1e-4)


@some
@given(model=MODELS, seed=SEEDS)
def test_right_and_wrong_exchanged_turns_the_scale_round(simulate: Simulate, model: Model, seed: int) -> None:
    """Ability and difficulty change their signs, and nothing else."""
    frame = simulate(300, 12, 8, seed=seed)[0].to_frame()
    fit, turned = fit_of(frame, model), fit_of(frame.assign(correct=~frame["correct"]), model)
    expected = fit.items.assign(b=-fit.items["b"], p_value=1.0 - fit.items["p_value"])
    assert_same_items(turned.items, expected)
    assert turned.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)


@some
@given(seed=SEEDS)
def test_learners_without_information_change_nothing(simulate: Simulate, seed: int) -> None:
    """A learner whose only answers are to an item that everybody got right says nothing about the others."""
    frame = simulate(300, 12, 8, seed=seed)[0].to_frame()
    extra = pd.DataFrame({"student_id": np.arange(1_000, 1_200), "item_id": 99, "correct": True})
    one, other = fit_of(frame, "Rasch"), fit_of(pd.concat([frame, extra]), "Rasch")
    assert_same_items(one.items, other.items)
    assert one.latent_sd == pytest.approx(other.latent_sd, abs=1e-4)
    assert one.n_persons == other.n_persons


@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 200])
def test_inverse_of_the_information(n: int) -> None:
    """Standard errors are no better than it; its panels are 64 wide."""
    rng = np.random.default_rng(n)
    factor = rng.normal(size=(n, n + 3))
    matrix = factor @ factor.T + np.diag(rng.uniform(0.1, 1.0, n))
    with workers() as run:
        own = inverse(matrix, run)
        assert own is not None
        np.testing.assert_allclose(own @ matrix, np.eye(n), atol=1e-9 * np.linalg.cond(matrix))
        np.testing.assert_array_equal(own, own.T)
        matrix[n - 1, n - 1] = -1.0
        assert inverse(matrix, run) is None


def test_exponential_of_a_row() -> None:
    """The posterior weights are made of it: no error beyond the last bits, from 0 down to where weights vanish."""
    x = np.concatenate([np.linspace(-700.0, 0.0, 100_001), -np.geomspace(1e-300, 1.0, 1_000), [-1e300, -0.0, -750.0]])
    own = x.copy()
    exp_row(own, np.empty(len(x), dtype=np.int64))
    np.testing.assert_allclose(own[:-3], np.exp(x[:-3]), rtol=4e-16)
    assert own[-3:].tolist() == [own[0], 1.0, own[0]]


FINGERPRINT = """
import hashlib, sys
import numpy as np
import pandas as pd
from irt_analytics.irt import Responses, calibrate, estimate_abilities

shards = int(sys.argv[1])
rng = np.random.default_rng(5)
n, n_items, each = 9_000, 60, 15
theta, b = rng.normal(size=n), rng.normal(size=n_items)
student = np.repeat(np.arange(n), each)
item = np.concatenate([rng.permutation(n_items)[:each] for _ in range(n)])
correct = rng.random(len(item)) < 1 / (1 + np.exp(b[item] - theta[student]))
parts = [Responses.from_long(student[own], item[own], correct[own])
         for own in (student % shards == shard for shard in range(shards))]
responses = Responses.concat(parts)
digest = hashlib.sha256()
for arguments in (
    {"model": "2PL"},
    {"model": "Rasch", "priors": "weak"},
    {"model": "3PL", "priors": "weak"},
    {"model": "2PL", "group": np.where(theta > 0, "able", "other")},
):
    fit = calibrate(responses, **arguments)
    columns = ["a", "b", "c", "se_a", "se_b", "se_c"]
    digest.update(fit.items[columns].to_numpy().tobytes())
    digest.update(fit.covariance.to_numpy().tobytes())
    digest.update(fit.groups[["mean", "sd", "se_mean", "se_sd"]].to_numpy().tobytes())
    digest.update(np.float64(fit.log_likelihood).tobytes())
    for method in ("EAP", "MAP", "WLE"):
        digest.update(estimate_abilities(responses, fit.items, method=method)[["theta", "se"]].to_numpy().tobytes())
print(digest.hexdigest())
"""


def test_threads_and_shards_change_no_bit(tmp_path: Path) -> None:
    """A rerun on another machine, or with another number of shards, must write the same tables."""
    script = tmp_path / "fingerprint.py"
    script.write_text(FINGERPRINT)

    def fingerprint(threads: int, blas_threads: int, shards: int) -> str:
        environment = os.environ | {
            "NUMBA_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(blas_threads),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, str(script), str(shards)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    one = fingerprint(threads=1, blas_threads=1, shards=1)
    assert len(one) == 64
    assert fingerprint(threads=2, blas_threads=2, shards=3) == one
    assert fingerprint(threads=5, blas_threads=4, shards=7) == one
