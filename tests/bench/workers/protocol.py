"""What a worker reads and writes; imports nothing that a peer's environment may lack."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Task:
    """One run: the data's folder, where to write, and what every engine is told alike.

    Attributes:
        data: folder of a data set.
        output: folder for items.csv and figures.json.
        n_students: learners.
        n_items: items.
        points: quadrature points.
        tolerance: at which EM ends; the largest change of a parameter for the peers, whose default it is too.
    """

    data: Path
    output: Path
    n_students: int
    n_items: int
    points: int
    tolerance: float

    @classmethod
    def from_arguments(cls) -> "Task":
        """Read the command line: data output n_students n_items points tolerance."""
        data, output, n_students, n_items, points, tolerance = sys.argv[1:]
        return cls(Path(data), Path(output), int(n_students), int(n_items), int(points), float(tolerance))

    def load(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        """Positions of learner and item and correctness of every answer."""
        return (
            np.fromfile(self.data / "student.i32", dtype=np.int32),
            np.fromfile(self.data / "item.u16", dtype=np.uint16),
            np.fromfile(self.data / "correct.u8", dtype=np.bool_),
        )

    def dense(self, missing: float, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The answers as a learners x items matrix."""
        student, item, correct = self.load()
        matrix = np.full((self.n_students, self.n_items), missing, dtype=dtype)
        matrix[student, item] = correct
        return matrix

    def finish(self, a: Any, b: Any, **figures: Any) -> None:
        """Write the estimates and the figures of the measured run, with this process's peak memory."""
        table = np.column_stack([np.ravel(a), np.ravel(b)]).astype(float)
        np.savetxt(self.output / "items.csv", table, delimiter=",", header="a,b", comments="", fmt="%.17g")
        figures["peak_mb"] = peak_mb()
        (self.output / "figures.json").write_text(json.dumps(figures))


def timed(run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of `run`, with its seconds by the clock and by the processors (all threads added up)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = run()
    return result, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
