"""Seconds and memory of this project's engine against the number of answers."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from tests.bench.datasets import DATASETS
from tests.bench.engines import ENGINES, Settings


def measure(sizes: Sequence[int], folder: Path, settings: Settings, repeats: int) -> list[dict[str, Any]]:
    """A record for every size: the first data set's design with as many learners as the answers need.

    Sizes alternate, so that a slow minute of the machine hits all of them.
    """
    base = DATASETS["a"]
    datasets = [base.scaled(size / base.n_responses) for size in sizes]
    runs: dict[str, list[dict[str, Any]]] = {dataset.name: [] for dataset in datasets}
    for repeat in range(repeats):
        for dataset in datasets:
            figures = ENGINES["native"].run(dataset.write(folder), dataset, settings).figures
            runs[dataset.name].append(figures)
            click.echo(f"{dataset.n_responses:,} answers: run {repeat + 1}, {figures['seconds']:.2f} s", err=True)
    return [
        {
            "answers": dataset.n_responses,
            "learners": dataset.n_students,
            "items": dataset.n_items,
            **{
                key: median(run[key] for run in runs[dataset.name])
                for key in ("seconds", "em_seconds", "prepare_seconds", "peak_mb", "iterations")
            },
            "converged": all(run["converged"] for run in runs[dataset.name]),
        }
        for dataset in datasets
    ]


def exponent(rows: Sequence[dict[str, Any]], key: str) -> float:
    """Slope of the log of a figure on the log of the number of answers: 1 is linear."""
    answers, values = ([row[name] for row in rows] for name in ("answers", key))
    return float(np.polyfit(np.log(answers), np.log(values), 1)[0])


def memory(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """MiB of a process that has no answers, and bytes that each answer adds: a line by least squares."""
    slope, base = np.polyfit([row["answers"] for row in rows], [row["peak_mb"] for row in rows], 1)
    return float(base), float(slope) * 2**20


def draw(rows: Sequence[dict[str, Any]], caption: str, path: Path) -> None:
    """Seconds and memory on log scales, with the line of proportionality through the last point."""
    mpl.use("agg")
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    answers = np.array([row["answers"] for row in rows])
    for axis, key, label in zip(axes, ("seconds", "peak_mb"), ("seconds", "peak memory, MiB"), strict=True):
        values = [row[key] for row in rows]
        axis.plot(answers, values, "o-", color="#1f4e79", label="measured")
        axis.plot(answers, answers * values[-1] / answers[-1], ":", color="grey", label="proportional to answers")
        axis.set(xscale="log", yscale="log", xlabel="answers", ylabel=label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.text(0.0, -0.02, caption, fontsize=7, wrap=True, va="top")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
