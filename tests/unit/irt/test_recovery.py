"""Recovery of known truth at a size for every commit; `make prove` runs the full one."""

from typing import ClassVar

from tests.prove.recovery import Design, RecoveryChecks


class TestRecovery(RecoveryChecks):
    designs: ClassVar = {
        "2PL": Design("2PL", replications=25, n_students=1_500, n_items=40, answers_each=20, seed=1),
        "Rasch": Design("Rasch", replications=25, n_students=1_000, n_items=40, answers_each=20, seed=2),
    }
