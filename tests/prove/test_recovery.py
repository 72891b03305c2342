"""Full-size recovery: writes the table that docs/models.md cites."""

from pathlib import Path
from typing import ClassVar

import click
import pytest
from tests.prove.recovery import PLANTED_A, Bias, Coverage, Design, RecoveryChecks, Replications, run

RESULTS = Path(__file__).parents[2] / ".bench" / "recovery"


@pytest.mark.prove
@pytest.mark.timeout(3600)
class TestRecovery(RecoveryChecks):
    designs: ClassVar = {
        "2PL": Design("2PL", replications=250, n_students=2_000, n_items=40, answers_each=20, seed=11),
        "Rasch": Design("Rasch", replications=250, n_students=2_000, n_items=40, answers_each=20, seed=12),
    }

    def test_report(self, design: Design, found: Replications, capsys: pytest.CaptureFixture[str]) -> None:
        """The figures behind the verdicts are kept, for docs and for a doubtful reader."""
        lines = [f"{design.model}: {2 * design.replications} calibrations of {design.n_students:,} learners"]
        for name in self.estimated(design):
            error, se = found.items[f"error_{name}"], found.items[f"se_{name}"]
            lines.append(f"coverage of {name}: {Coverage.of(error, se)}; halved {Coverage.of(error, se / 2).rate:.4f}")
        error, se = found.abilities["error"], found.abilities["se"]
        lines.append(f"coverage of theta: {Coverage.of(error, se)}; halved {Coverage.of(error, se / 2).rate:.4f}")
        for name, truth in self.planted(design).items():
            error, se = found.links[name] - truth, found.links[f"se_{name}"]
            lines.append(f"bias of {name}: {Bias.of(error)}; coverage {Coverage.of(error, se)}")
        if design.model == "Rasch":
            second = found.populations.query("cohort == 2")["latent_sd"]
            lines.append(f"bias of the second cohort's latent sd: {Bias.of(second - PLANTED_A)}")
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{design.model}.txt").write_text("\n".join(lines) + "\n")
        with capsys.disabled():
            click.echo("\n" + "\n".join(lines))


@pytest.mark.prove
@pytest.mark.parametrize("n_students", [250, 1_500], ids=["125-answers-an-item", "750-answers-an-item"])
def test_links_under_weak_priors(n_students: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The daily job's priors: with their unit estimated they leave A alone, with a unit given they draw it to 1."""
    given, estimated = (
        run(Design("2PL", 150, n_students, n_items=40, answers_each=20, seed=13, weak=True, weak_unit=unit)).links["A"]
        - PLANTED_A
        for unit in (1.0, None)
    )
    with capsys.disabled():
        click.echo(f"\nbias of A under weak priors: {Bias.of(estimated)}; of unit 1: {Bias.of(given)}")
    assert Bias.of(estimated).agrees(3.0)
    assert Bias.of(given).mean < -3.0 * Bias.of(given).monte_carlo_error
