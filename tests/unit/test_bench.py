"""The benchmark itself: a figure in a README is worth what the program behind it is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.bench import __main__ as bench
from tests.bench import exactness, online, roofline, scaling
from tests.bench.datasets import DATASETS, Dataset
from tests.bench.engines import ENGINES, Engine, Unavailable
from tests.bench.reference import largest_difference, log_likelihood

from irt_analytics.irt import Responses, calibrate

SMALL = Dataset("small", 600, 30, 12)


def test_every_learner_answers_different_items_in_the_stated_number(tmp_path: Path) -> None:
    """All engines get the design that the table names."""
    data = SMALL.write(tmp_path)
    student = np.fromfile(data / "student.i32", dtype=np.int32)
    item = np.fromfile(data / "item.u16", dtype=np.uint16)
    pairs = pd.DataFrame({"student": student, "item": item})
    assert (pairs.groupby("student")["item"].nunique() == 12).all()
    assert len(pairs) == SMALL.n_responses == 600 * 12
    assert item.max() < 30


def test_the_common_log_likelihood_is_that_of_the_model(tmp_path: Path) -> None:
    """Engines are compared at the likelihood they reached, computed apart from all of them."""
    data = SMALL.write(tmp_path)
    columns = (
        np.fromfile(data / name, dtype=dtype)
        for name, dtype in (("student.i32", np.int32), ("item.u16", np.uint16), ("correct.u8", np.bool_))
    )
    fit = calibrate(Responses.from_long(*columns), model="2PL", standard_errors=False)
    assert log_likelihood(data, fit.items, 61) == pytest.approx(fit.log_likelihood, abs=1e-6)
    worse = fit.items.assign(a=fit.items["a"] * 1.1)
    assert log_likelihood(data, worse, 61) < fit.log_likelihood
    assert largest_difference(worse, fit.items)[0] == pytest.approx(0.1 * fit.items["a"].max())


def test_a_peer_that_cannot_be_had_is_reported_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads a comparison from which a rival silently vanished."""

    def refuse() -> None:
        raise Unavailable("no such thing here")

    monkeypatch.setitem(DATASETS, "a", SMALL)
    monkeypatch.setitem(ENGINES, "absent", Engine("absent", refuse, ("false",)))
    monkeypatch.setitem(ENGINES, "broken", Engine("broken", lambda: None, ("sh", "-c", "echo out of luck >&2; exit 3")))

    arguments = [
        "--data",
        "a",
        "--engines",
        "absent,broken",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--sizes",
        "3600,7200",
    ]
    result = CliRunner().invoke(bench.main, [*arguments, "--folder", str(tmp_path)])

    assert result.exit_code == 0, result.output
    rows = {row["engine"]: row for row in json.loads((tmp_path / "results.json").read_text())}
    assert rows["absent"]["reason"] == "no such thing here"
    assert "out of luck" in rows["broken"]["reason"]
    own = rows["irt-analytics"]
    assert own["converged"]
    assert {"data", "engine", "version", "seconds", "peak_mb", "ratio"} <= own.keys()
    assert (tmp_path / "results.png").stat().st_size > 0
    assert "not measured: no such thing here" in result.output
    least = own["least"]
    assert max(least["memory"], least["arithmetic"]) <= least["together"] < own["em_seconds"] < own["seconds"]
    growth = json.loads((tmp_path / "scaling.json").read_text())
    assert [(row["answers"], row["learners"], row["converged"]) for row in growth] == [
        (3600, 300, True),
        (7200, 600, True),
    ]
    assert (tmp_path / "speed.md").read_text() == result.stdout


def test_the_least_time_is_that_of_the_counted_work() -> None:
    """Held against a wrong roof, a slow engine would look fast."""
    machine = roofline.Machine(bandwidth=1e3, operations=1e4, exponentials=1e2)
    stages = [
        {"nodes": 10, "answers": 200, "learners": 20, "steps": 3, "seconds": 1.0},
        {"nodes": 1, "answers": 200, "learners": 20, "steps": 1, "seconds": 1.0},
    ]
    # 800 + 160 + 32 x nodes bytes; (400 + 80 + 40) x nodes operations; (20 + 6) x nodes exponentials.
    least = roofline.least(machine, stages, n_items=1)
    assert least.memory == pytest.approx(3 * 1.28 + 0.992)
    assert least.arithmetic == pytest.approx(3 * (0.52 + 2.6) + 0.052 + 0.26)
    assert least.together == pytest.approx(3 * (0.52 + 2.6) + 0.992), "the first stage computes, the second one reads"


def test_growth_in_proportion_has_the_slope_one() -> None:
    """A quadratic engine would pass for a linear one."""
    rows = [
        {"answers": n, "seconds": n / 1e6, "squared": n**2 / 1e9, "peak_mb": 300 + 8 * n / 2**20}
        for n in (1e5, 1e6, 1e7)
    ]
    assert scaling.exponent(rows, "seconds") == pytest.approx(1.0)
    assert scaling.exponent(rows, "squared") == pytest.approx(2.0)
    assert scaling.memory(rows) == pytest.approx((300.0, 8.0))


def test_the_cost_of_one_more_answer_is_told_for_both_models_and_all_lengths() -> None:
    """docs/models.md cites this table."""
    result = CliRunner().invoke(online.main, ["--learners", "1"])
    assert result.exit_code == 0, result.output
    told = [line.split()[:2] for line in result.output.splitlines()]
    assert all([model, str(n)] in told for model in ("2PL", "3PL") for n in online.LENGTHS)


@pytest.mark.parametrize("name", [exactness.SAT12, exactness.STATISTICS])
def test_the_reference_s_likelihood_is_the_one_that_r_mirt_states(name: str, tmp_path: Path) -> None:
    """Estimates would be compared on other answers than the reference's, or by another likelihood."""
    if not exactness.DATA.exists():
        pytest.skip(f"reference data is not there: {exactness.DATA}")
    _, data, items = exactness.write(name, tmp_path)
    fits = pd.read_csv(exactness.DATA / "reference" / "mirt_fit.csv").set_index(["dataset", "model"])
    assert log_likelihood(data, items, 61) == pytest.approx(fits.loc[(name, "2PL"), "loglik"], abs=0.01)
