"""`python -m tests.bench.online`: what one more answer costs where theta is updated at once; prints a table.

One learner at a time, a bank of 5,000 items, 2PL and 3PL. Beside it `estimate_abilities` on all answers of that
learner, which is what a program without the carried posterior would call.
"""

import os
import time

import click
import numpy as np
import pandas as pd

from irt_analytics.irt import OnlineBank, Responses, estimate_abilities

ITEMS = 5_000
LENGTHS = (10, 30, 100, 300)


@click.command()
@click.option("--learners", default=300, show_default=True, help="Learners of each length, one after another.")
def main(learners: int) -> None:
    """Print microseconds an answer, medians over the learners."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame({"item_id": [f"q{j}" for j in range(ITEMS)], "b": rng.normal(0.0, 1.0, ITEMS)})
    items["a"] = np.exp(rng.normal(0.1, 0.3, ITEMS))
    _measure(OnlineBank(items, (0.0, 1.0)), items, max(LENGTHS), rng)  # loads or compiles the kernels
    rows = []
    for model, c in (("2PL", 0.0), ("3PL", 0.2)):
        bank = items.assign(c=c)
        started = time.perf_counter()
        online = OnlineBank(bank, (0.0, 1.0))
        prepared = time.perf_counter() - started
        for n in LENGTHS:
            adding, restoring, anew = zip(*(_measure(online, bank, n, rng) for _ in range(learners)), strict=True)
            row = {"model": model, "answers before": n, "us to add one": np.median(adding) * 1e6}
            row |= {"us to restore and add": np.median(restoring) * 1e6, "us to begin anew": np.median(anew) * 1e6}
            rows.append(row | {"ms to prepare the bank": prepared * 1e3})
    click.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format))
    click.echo(f"{ITEMS:,} items, {learners} learners of each length, load {os.getloadavg()[0]:.1f}")


def _measure(online: OnlineBank, bank: pd.DataFrame, n: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Seconds that the answer after n takes: with the learner at hand, from the kept state, and from all answers."""
    chosen = rng.permutation(ITEMS)[: n + 1]
    ids = bank["item_id"].to_numpy()[chosen]
    theta = rng.normal()
    p = 0.5 / (1.0 + np.exp(-(theta - bank["b"].to_numpy()[chosen]))) + 0.25
    correct = (rng.random(n + 1) < p).tolist()
    learner = online.start()
    for item, right in zip(ids[:-1], correct[:-1], strict=True):
        learner.add(item, right)
    kept = learner.state()
    started = time.perf_counter()
    learner.add(ids[-1], correct[-1])
    added = time.perf_counter()
    online.restore(kept).add(ids[-1], correct[-1])
    restored = time.perf_counter()
    estimate_abilities(Responses.from_long(["s"] * (n + 1), ids, correct), bank, prior=online.prior)
    return added - started, restored - added, time.perf_counter() - restored


if __name__ == "__main__":
    main()
