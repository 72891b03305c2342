"""Full-size recovery: writes the table that docs/models.md cites."""

from pathlib import Path
from typing import ClassVar

import click
import pytest
from tests.prove.recovery import PLANTED_B, Bias, Coverage, Design, RecoveryChecks, Replications

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
        lines = [f"{design.model}: {2 * design.replications} calibrations of {design.n_students} learners"]
        lines += [
            f"coverage of {name}: {Coverage.of(found.items[f'error_{name}'], found.items[f'se_{name}'])}, halved "
            f"{Coverage.of(found.items[f'error_{name}'], found.items[f'se_{name}'] / 2).rate:.4f}"
            for name in self.estimated(design)
        ]
        lines += [
            f"coverage of theta: {Coverage.of(found.abilities['error'], found.abilities['se'])}",
            f"bias of A: {Bias.of(found.links['A'] - design.planted_slope)}",
            f"bias of B: {Bias.of(found.links['B'] - PLANTED_B)}",
        ]
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{design.model}.txt").write_text("\n".join(lines) + "\n")
        with capsys.disabled():
            click.echo("\n" + "\n".join(lines))
