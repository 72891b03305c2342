"""Real answers and reference values for the tests of the engine."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from irt_analytics.irt import Responses

SHARED = Path(__file__).parents[4] / "shared" / "data"
OWN_REFERENCE = Path(__file__).parent / "reference"


def shared_file(name: str) -> Path:
    """A file of the shared data folder; skips the test where the folder is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"reference data is not there: {path}")
    return path


@cache
def _answers(dataset: str) -> Responses:
    if dataset == "statistics_practice_first_attempt":
        log = pd.read_csv(shared_file("statistics_practice_attempts.csv.gz"))
        log = log.sort_values("completed_at", kind="stable").drop_duplicates(["student_id", "item_id"])
        return Responses.from_long(log["student_id"], log["item_id"], log["correct"])
    matrix = pd.read_csv(shared_file(f"reference/{dataset}_responses.csv"))
    long = matrix.rename_axis("person").reset_index().melt("person", var_name="item_id", value_name="correct")
    return Responses.from_long(long["person"], long["item_id"], long["correct"])


@pytest.fixture(scope="session")
def answers() -> Callable[[str], Responses]:
    """Responses of a reference dataset by its name; learners of a matrix are numbered from 0."""
    return _answers


@cache
def _reference(name: str) -> pd.DataFrame:
    own = OWN_REFERENCE / name
    return pd.read_csv(own if own.exists() else shared_file(f"reference/{name}"))


@pytest.fixture(scope="session")
def reference() -> Callable[..., pd.DataFrame]:
    """Rows of a reference file, by file name and the values that its columns must have."""

    def rows(name: str, **where: str) -> pd.DataFrame:
        frame = _reference(name)
        for column, value in where.items():
            frame = frame[frame[column] == value]
        assert len(frame), f"{name} has no rows for {where}"
        return frame.reset_index(drop=True)

    return rows


@pytest.fixture(scope="session")
def simulate() -> Callable[..., tuple[Responses, pd.DataFrame, NDArray[np.float64]]]:
    """Draw answers of learners to random items of known parameters: the responses, the items and the abilities."""

    def draw(
        n_students: int, n_items: int, answers_each: int, *, seed: int, guessing: float = 0.0
    ) -> tuple[Responses, pd.DataFrame, NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        items = pd.DataFrame(
            {
                "item_id": np.arange(n_items),
                "a": rng.lognormal(0.0, 0.3, n_items),
                "b": rng.normal(0.0, 1.0, n_items),
                "c": guessing,
            }
        )
        theta = rng.normal(0.0, 1.0, n_students)
        student = np.repeat(np.arange(n_students), answers_each)
        item = np.concatenate([rng.permutation(n_items)[:answers_each] for _ in range(n_students)])
        a, b = items["a"].to_numpy()[item], items["b"].to_numpy()[item]
        p = guessing + (1.0 - guessing) / (1.0 + np.exp(-a * (theta[student] - b)))
        return Responses.from_long(student, item, rng.random(len(item)) < p), items, theta

    return draw
