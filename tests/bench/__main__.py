"""`python -m tests.bench`: prints the tables of docs/comparison.md, and writes them to .bench/speed.md.

Beside them stand results.json, scaling.json and their plots. Peers and this engine take turns. For this engine's EM the
least time is given that this machine's memory and arithmetic allow (`roofline`), measured before each data set's runs.
"""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
import matplotlib as mpl
from matplotlib import pyplot as plt
from tests.bench import roofline, scaling
from tests.bench.datasets import DATASETS, Dataset
from tests.bench.engines import ENGINES, ROOT, Engine, Run, Settings, Unavailable, first_processors
from tests.bench.reference import largest_difference, log_likelihood

OURS = "native"
TIMED = ",".join(name for name, engine in ENGINES.items() if engine.timed)
SIZES = "100000,300000,1000000,3000000,10000000,30000000,50000000"
CAPTION = (
    "2PL, {points} quadrature points, tolerance {tolerance:g}, {threads} threads, no standard errors; medians of "
    "{repeats} alternating runs, a process each, timed around the fit after loading and one unmeasured run"
)

LEGEND = (
    "Ratio: seconds over irt-analytics'; processor s: of all threads; log-likelihood of the estimates by one and the "
    "same function; Δa, Δd: largest difference of slopes and intercepts from irt-analytics"
)


@click.command()
@click.option("--data", "datasets", default="a,b,c", show_default=True, help="Data sets, of a, b and c.")
@click.option("--engines", default=TIMED, show_default=True, help="Engines to run.")
@click.option("--repeats", default=5, show_default=True, help="Measured runs of every engine.")
@click.option("--threads", default=2, show_default=True, help="Threads, and processors, of every engine.")
@click.option("--points", default=61, show_default=True, help="Quadrature points of every engine.")
@click.option("--tolerance", default=1e-4, show_default=True, help="Tolerance of every engine's EM.")
@click.option("--scale", default=1.0, show_default=True, help="Factor on the number of learners.")
@click.option("--sizes", default=SIZES, show_default=True, help="Answers at which this engine's growth is measured.")
@click.option("--folder", default=ROOT / ".bench", type=click.Path(path_type=Path), show_default=".bench")
def main(
    datasets: str,
    engines: str,
    repeats: int,
    threads: int,
    points: int,
    tolerance: float,
    scale: float,
    sizes: str,
    folder: Path,
) -> None:
    """Compare this project's calibration with other packages on simulated data of known truth."""
    try:
        first_processors(threads)
    except Unavailable as error:
        raise click.UsageError(str(error)) from error
    settings = Settings(points, tolerance, threads)
    selected, missing = _prepare([*dict.fromkeys([OURS, *engines.split(",")])])
    rows: list[dict[str, Any]] = []
    for key in filter(None, datasets.split(",")):
        dataset = DATASETS[key].scaled(scale)
        click.echo(f"{dataset.name}: simulating or reading", err=True)
        data = dataset.write(folder / "data")
        # A dense matrix of the largest set alone would take 5 to 40 GB.
        able = {name: engine for name, engine in selected.items() if key != "c" or not engine.needs_dense}
        failed = dict(missing) if key != "c" else {}
        machine = roofline.measure(threads)
        runs = _measure(able, failed, dataset, data, repeats, settings)
        rows += _summarise(dataset, data, runs, failed, settings, machine)
    folder.mkdir(parents=True, exist_ok=True)
    caption = CAPTION.format(**asdict(settings), repeats=repeats)
    parts = []
    if rows:
        (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        _draw(rows, caption, folder / "results.png")
        parts += [f"{caption}. {LEGEND}.", _comparison(rows), _roofline(rows)]
    answers = [int(size) for size in filter(None, sizes.split(","))]
    if answers:
        growth = scaling.measure(answers, folder / "data", settings, repeats)
        (folder / "scaling.json").write_text(json.dumps(growth, indent=1) + "\n")
        scaling.draw(growth, caption, folder / "scaling.png")
        parts.append(_growth(growth))
    parts.append(f"{_processor()}, {threads} of {os.cpu_count()} processors; load {os.getloadavg()[2]:.1f} at the end.")
    page = "\n\n".join(parts)
    (folder / "speed.md").write_text(page + "\n")
    click.echo(page)


def _prepare(names: list[str]) -> tuple[dict[str, Engine], dict[str, str]]:
    """Engines that can run here, and the reason for each that cannot."""
    unknown = sorted(set(names) - set(ENGINES))
    if unknown:
        raise click.UsageError(f"unknown engine {', '.join(unknown)}; expected some of {', '.join(ENGINES)}")
    ready, missing = {}, {}
    for name in names:
        click.echo(f"{ENGINES[name].name}: installing or checking", err=True)
        try:
            ENGINES[name].prepare()
        except Unavailable as error:
            missing[name] = str(error)
        else:
            ready[name] = ENGINES[name]
    return ready, missing


def _measure(
    engines: dict[str, Engine],
    failed: dict[str, str],
    dataset: Dataset,
    data: Path,
    repeats: int,
    settings: Settings,
) -> dict[str, list[Run]]:
    """Runs of every engine, alternating so that a slow minute of the machine hits all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in engines}
    for repeat in range(repeats):
        for name, engine in engines.items():
            if name in failed:
                continue
            try:
                run = engine.run(data, dataset, settings)
            except Unavailable as error:
                failed[name] = str(error)
                continue
            runs[name].append(run)
            click.echo(
                f"{dataset.name}: {engine.name} run {repeat + 1} of {repeats}, {run.figures['seconds']:.2f} s", err=True
            )
    return {name: done for name, done in runs.items() if name not in failed}


def _summarise(
    dataset: Dataset,
    data: Path,
    runs: dict[str, list[Run]],
    failed: dict[str, str],
    settings: Settings,
    machine: roofline.Machine,
) -> list[dict[str, Any]]:
    """A record for every engine; ratios and differences are to this project's engine."""
    if OURS in failed:
        raise click.ClickException(failed[OURS])
    ours = runs[OURS]
    base = median(run.figures["seconds"] for run in ours)
    records = []
    least = roofline.least(machine, ours[-1].figures["stages"], dataset.n_items)
    for name, done in runs.items():
        figures = done[-1].figures
        seconds = [run.figures["seconds"] for run in done]
        difference_a, difference_d = largest_difference(done[-1].items, ours[-1].items)
        extra = {key: median(run.figures[key] for run in done) for key in figures if key.endswith("_seconds")}
        records.append(
            {
                "data": dataset.name,
                "engine": ENGINES[name].name,
                "version": figures["version"],
                "seconds": median(seconds),
                "peak_mb": median(run.figures["peak_mb"] for run in done),
                "ratio": median(seconds) / base,
                "runs": seconds,
                **extra,
                "iterations": figures["iterations"],
                "converged": figures["converged"],
                "own_log_likelihood": figures["own_log_likelihood"],
                "log_likelihood": log_likelihood(data, done[-1].items, settings.points),
                "max_difference_a": difference_a,
                "max_difference_d": difference_d,
                **({"least": asdict(least), "machine_can": asdict(machine)} if name == OURS else {}),
                "responses": dataset.n_responses,
                **asdict(settings),
                "machine": f"{_processor()}, load {os.getloadavg()[0]:.1f}",
            }
        )
    absent = [
        {"data": dataset.name, "engine": ENGINES[name].name, "seconds": None, "reason": reason}
        for name, reason in failed.items()
    ]
    return records + absent


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _comparison(rows: list[dict[str, Any]]) -> str:
    head = "data", "engine", "version", "s", "ratio", "processor s", "MiB", "iterations", "log-likelihood", "Δa", "Δd"
    lines: list[Sequence[str]] = []
    for row in rows:
        if row["seconds"] is None:
            lines.append([row["data"], row["engine"], "", f"not measured: {row['reason']}", *[""] * (len(head) - 4)])
            continue
        lines.append(
            [
                row["data"],
                row["engine"],
                row["version"],
                f"{row['seconds']:.3f}",
                f"{row['ratio']:.1f}",
                f"{row['cpu_seconds']:.2f}",
                f"{row['peak_mb']:,.0f}",
                _iterations(row),
                f"{row['log_likelihood']:,.2f}",
                f"{row['max_difference_a']:.4f}",
                f"{row['max_difference_d']:.4f}",
            ]
        )
    return markdown(head, lines)


def _iterations(row: dict[str, Any]) -> str:
    """Cycles of the EM, where the engine says them."""
    if row["iterations"] is None:
        return "not told"
    return f"{row['iterations']:.0f}" + (" (not converged)" if row["converged"] is False else "")


def _roofline(rows: list[dict[str, Any]]) -> str:
    """This engine's EM beside the least time that the machine allows."""
    own = [row for row in rows if "least" in row]
    lines = [
        (
            row["data"],
            f"{row['em_seconds']:.3f}",
            f"{row['least']['memory']:.3f}",
            f"{row['least']['arithmetic']:.3f}",
            f"{row['least']['together']:.3f}",
            f"{row['em_seconds'] / row['least']['together']:.1f}",
        )
        for row in own
    ]
    head = "data", "EM s", "least s for memory", "for arithmetic", "for both", "EM / least"
    can = "; ".join(f"{row['data']}: {roofline.Machine(**row['machine_can'])}" for row in own)
    return f"{markdown(head, lines)}\n\nMeasured before the runs: {can}."


def _growth(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            f"{row['answers']:,}",
            f"{row['learners']:,}",
            f"{row['items']:,}",
            f"{row['seconds']:.3f}",
            f"{row['em_seconds']:.3f}",
            f"{row['prepare_seconds']:.3f}",
            _iterations(row),
            f"{row['peak_mb']:,.0f}",
        )
        for row in rows
    ]
    head = "answers", "learners", "items", "s", "of which EM", "sparse arrays before it, s", "iterations", "MiB"
    if len(rows) < 2:
        return markdown(head, lines)
    base, each = scaling.memory(rows)
    return (
        f"{markdown(head, lines)}\n\nSlope of log seconds on log answers: {scaling.exponent(rows, 'seconds'):.2f}. "
        f"Memory: {base:,.0f} MiB and {each:.1f} bytes an answer."
    )


def _draw(rows: list[dict[str, Any]], caption: str, path: Path) -> None:
    """Seconds on a log scale, a panel for every data set; readable in grey."""
    mpl.use("agg")
    measured = [row for row in rows if row["seconds"] is not None]
    names = list(dict.fromkeys(row["data"] for row in measured))
    heights = [sum(row["data"] == name for row in measured) + 1 for name in names]
    figure, axes = plt.subplots(
        len(names), 1, figsize=(8, 0.55 * sum(heights) + 1), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[:, 0], names, strict=True):
        part = sorted((row for row in measured if row["data"] == name), key=lambda row: -row["seconds"])
        ours = [row["ratio"] == 1.0 for row in part]
        bars = axis.barh(
            [f"{row['engine']} {row['version']}" for row in part],
            [row["seconds"] for row in part],
            color=["#1f4e79" if own else "#b8c4d0" for own in ours],
        )
        labels = [
            f"{row['seconds']:.2g} s" + ("" if own else f"  ({row['ratio']:.1f}x)")
            for row, own in zip(part, ours, strict=True)
        ]
        axis.bar_label(bars, labels, padding=4)
        axis.set_xscale("log")
        axis.margins(x=0.25)
        axis.set_title(f"{name}: {part[0]['responses']:,} answers", loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("seconds, log scale")
    figure.text(0.0, -0.02, caption, fontsize=7, wrap=True, va="top")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
