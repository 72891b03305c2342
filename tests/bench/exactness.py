"""`python -m tests.bench.exactness`: every engine's 2PL estimates from real answers beside R mirt's reference.

The answers and the reference estimates (R mirt 1.45.1, 61 points, tolerance 1e-6) lie in ../shared/data. No time is
measured, so a busy machine does no harm. Prints the table of docs/comparison.md.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from tests.bench.__main__ import markdown
from tests.bench.datasets import Dataset
from tests.bench.engines import ENGINES, ROOT, Settings, Unavailable
from tests.bench.reference import largest_difference, log_likelihood

DATA = ROOT.parent / "shared" / "data"
SETTINGS = Settings(points=61, tolerance=1e-6, threads=1)
LSAT7, SAT12, STATISTICS = "lsat7", "sat12", "statistics_practice_first_attempt"


def read(name: str) -> pd.DataFrame:
    """Answers: student, item (an id), correct, a row each, by student and item."""
    if name == STATISTICS:
        log = pd.read_csv(DATA / "statistics_practice_attempts.csv.gz").sort_values("completed_at", kind="stable")
        log = log.drop_duplicates(["student_id", "item_id"])
        answers = pd.DataFrame({"student": pd.factorize(log["student_id"], sort=True)[0], "item": log["item_id"]})
        answers["correct"] = log["correct"].astype(np.uint8)
    else:
        matrix = pd.read_csv(DATA / "reference" / f"{name}_responses.csv").rename_axis("student").reset_index()
        answers = matrix.melt("student", var_name="item", value_name="correct")
    return answers.sort_values(["student", "item"], kind="stable")


def write(name: str, folder: Path) -> tuple[Dataset, Path, pd.DataFrame]:
    """The answers in the files that engines read, and the reference's items in the same order."""
    answers = read(name)
    item, ids = pd.factorize(answers["item"], sort=True)
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    student = pd.factorize(answers["student"], sort=True)[0]
    student.astype(np.int32).tofile(target / "student.i32")
    item.astype(np.uint16).tofile(target / "item.u16")
    answers["correct"].to_numpy(dtype=np.uint8).tofile(target / "correct.u8")
    reference = pd.read_csv(DATA / "reference" / "mirt_item_params.csv")
    of_this = reference[(reference["dataset"] == name) & (reference["model"] == "2PL")].set_index("item_id")
    return Dataset(name, int(student.max()) + 1, len(ids), 0), target, of_this.loc[ids].reset_index()


def compare(name: str, engines: list[str], folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for the reference and for each engine."""
    dataset, data, reference = write(name, folder)
    own = log_likelihood(data, reference, SETTINGS.points)
    yield name, "reference", "R mirt 1.45.1", f"{own:,.3f}", "", "", ""
    for key in engines:
        engine = ENGINES[key]
        try:
            engine.prepare()
            run = engine.run(data, dataset, SETTINGS)
        except Unavailable as error:
            yield name, engine.name, "", f"not measured: {error}", "", "", ""
            continue
        value = log_likelihood(data, run.items, SETTINGS.points)
        difference_a, difference_d = largest_difference(run.items, reference)
        yield (
            name,
            engine.name,
            run.figures["version"],
            f"{value:,.3f}",
            f"{value - own:+.4f}",
            f"{difference_a:.4f}",
            f"{difference_d:.4f}",
        )


@click.command()
@click.option("--data", "names", default=f"{LSAT7},{SAT12},{STATISTICS}", show_default=True, help="Data sets.")
@click.option("--engines", default=",".join(ENGINES), show_default=True, help="Engines to run.")
@click.option("--folder", default=ROOT / ".bench", type=click.Path(path_type=Path), show_default=".bench")
def main(names: str, engines: str, folder: Path) -> None:
    """Compare estimates from real answers with R mirt's."""
    head = "data", "engine", "version", "log-likelihood", "above the reference", "Δa", "Δd"
    rows = [row for name in names.split(",") for row in compare(name, engines.split(","), folder / "data")]
    click.echo(markdown(head, rows))


if __name__ == "__main__":
    main()
