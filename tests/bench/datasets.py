"""Simulated answers that every engine reads from the same files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

CHUNK_LEARNERS = 20_000


@dataclass(frozen=True)
class Dataset:
    """Learners with theta ~ N(0, 1) who answer 2PL items, a ~ lognormal(0, 0.3) and b ~ N(0, 1).

    Attributes:
        name: folder of its files.
        n_students: learners.
        n_items: items.
        answers_each: different items, drawn at random, that every learner answers.
    """

    name: str
    n_students: int
    n_items: int
    answers_each: int

    @property
    def n_responses(self) -> int:
        """Number of answers."""
        return self.n_students * self.answers_each

    def scaled(self, scale: float) -> "Dataset":
        """The same test with another number of learners."""
        if scale == 1.0:
            return self
        return Dataset(
            f"{self.name}-x{scale:g}", max(1, round(self.n_students * scale)), self.n_items, self.answers_each
        )

    def write(self, folder: Path) -> Path:
        """Simulate into `folder`/name unless it is there; returns that folder.

        Files: student.i32 and item.u16 (positions from 0, learner by learner), correct.u8 (0 or 1), items.csv (truth).
        """
        target = folder / self.name
        if (target / "items.csv").exists():
            return target
        target.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(20_260_131)
        a = rng.lognormal(0.0, 0.3, self.n_items)
        b = rng.normal(0.0, 1.0, self.n_items)
        with (
            (target / "student.i32").open("wb") as students,
            (target / "item.u16").open("wb") as items,
            (target / "correct.u8").open("wb") as correct,
        ):
            for first, last in self._chunks():
                theta = rng.normal(0.0, 1.0, last - first)
                answered = self._items_of(last - first, rng)
                right = rng.random(answered.shape) < expit(a[answered] * (theta[:, None] - b[answered]))
                np.repeat(np.arange(first, last, dtype=np.int32), self.answers_each).tofile(students)
                answered.astype(np.uint16).tofile(items)
                right.astype(np.uint8).tofile(correct)
        # Written last: its presence says that the set is whole.
        pd.DataFrame({"item": np.arange(self.n_items), "a": a, "b": b}).to_csv(target / "items.csv", index=False)
        return target

    def _chunks(self) -> Iterator[tuple[int, int]]:
        for first in range(0, self.n_students, CHUNK_LEARNERS):
            yield first, min(first + CHUNK_LEARNERS, self.n_students)

    def _items_of(self, n_students: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """Different items for every learner, sorted, shape (n_students, answers_each)."""
        if self.answers_each == self.n_items:
            return np.tile(np.arange(self.n_items, dtype=np.int32), (n_students, 1))
        drawn = np.sort(rng.integers(0, self.n_items, (n_students, self.answers_each), dtype=np.int32), axis=1)
        while True:
            repeating = np.flatnonzero((np.diff(drawn, axis=1) == 0).any(axis=1))
            if not len(repeating):
                return drawn
            again = rng.integers(0, self.n_items, (len(repeating), self.answers_each), dtype=np.int32)
            drawn[repeating] = np.sort(again, axis=1)


DATASETS = {
    "a": Dataset("20000x500-30-each", 20_000, 500, 30),
    "b": Dataset("50000x100-complete", 50_000, 100, 100),
    "c": Dataset("1000000x5000-50-each", 1_000_000, 5_000, 50),
}
