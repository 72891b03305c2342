"""Learner KPIs of the day's week: growth I_t, activity A_t, efficiency E_t and resolution R_t.

The answers of the windows are prepared once in temporary tables, for the day's week and for every past week that no
run has seen complete; each week looks only at answers up to its own last day. The KPIs are set-based SQL; theta of the
fortnights behind I_t comes from the engine, a shard of learners at a time.
"""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.errors import Skip
from irt_analytics.jobs._first_attempts import ATTEMPTS_A_SHARD
from irt_analytics.jobs._growth import (
    ANSWERS_A_FORTNIGHT,
    Z95,
    estimate_cohort,
    fortnight_growth,
    growth_in_accuracy,
    posterior_growth,
)
from irt_analytics.jobs._windows import create, prepare_answers
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.progress import track
from irt_analytics.runner import Job, JobContext

#: Days that the earliest window reaches back from a week's last day (long previous window).
REACH_DAYS = 55
#: Other learners' answers that an item needs before a learner's accuracy on it is compared with theirs.
OTHERS_AN_ITEM = 5
#: Timed correct first attempts that efficiency needs in each window.
ANSWERS_A_LONG_WINDOW = 15
#: Items that resolution needs.
ITEMS_TRIED_AGAIN = 5
#: Why growth is null where the answers are enough in number.
USELESS_GROWTH = "the answers of the two fortnights say too little of ability"

_SCORED_ANSWER = {"learner": pa.int32(), "item": pa.int32(), "day": pa.int32(), "correct": pa.int8()}


def run(context: JobContext) -> None:
    """Write weekly_kpi of as_of's week, and of the past weeks that no earlier run has seen complete."""
    connection, record = context.connection, context.record
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    weeks = db.read_frame(connection, "kpis/due_weeks", history_weeks=HISTORY_WEEKS, **day)
    first_day = weeks["last_day"].min() - timedelta(days=REACH_DAYS)
    learners, scored = _prepare(context, weeks, first_day)

    db.execute(connection, "kpis/create_growth")
    db.copy_frame(connection, "kpi_growth", _growth_in_theta(context, weeks, first_day, learners, scored))
    db.copy_frame(connection, "kpi_growth", _growth_in_accuracy(context))
    connection.execute("analyze kpi_growth")
    with track("activity, efficiency, resolution", 3) as progress:
        for name, minimum in (
            ("a_t", {}),
            ("e_t", {"answers_needed": ANSWERS_A_LONG_WINDOW}),
            ("r_t", {"items_needed": ITEMS_TRIED_AGAIN}),
        ):
            create(context, f"kpis/{name}", f"kpi_{name}", z=Z95, **minimum)
            progress.advance(1, name)

    db.ensure_partitions(connection, [context.as_of])
    written = db.execute(connection, "kpis/save", **day)
    db.execute(connection, "kpis/delete_gone", **day)
    db.execute(connection, "kpis/blank_gone", **day)
    record.wrote("weekly_kpi", written)
    if not written:
        raise Skip(f"no answer from {first_day} to {context.as_of}", keep_writes=True)


def _prepare(context: JobContext, weeks: pd.DataFrame, first_day: date) -> tuple[int, int]:
    """Make the temporary tables that every KPI reads; return the numbers of learners and of answers theta may use."""
    record = context.record
    week_days = {"week_starts": weeks["week_start"].tolist(), "last_days": weeks["last_day"].tolist()}
    prepare_answers(context, first_day)
    create(context, "kpis/create_week", "kpi_week", **week_days)
    create(context, "kpis/create_learner_week", "kpi_learner_week")
    counts = db.read_frame(context.connection, "kpis/prepared").iloc[0]
    record.read("attempt", int(counts["answers"]))
    record.read("published_items", int(counts["items"]))
    counted_as = f"first attempts counted as {context.params.invalid_answers}"
    record.exclude("timed-out answers", int(counts["timed_out"]), counted_as)
    record.exclude("rapid answers", int(counts["rapid"]), f"{counted_as}; under a tenth of the item's median time")
    record.exclude("first attempts on items that are not in the bank", int(counts["uncalibrated"]), "no part in theta")
    return int(counts["learners"]), int(counts["scored"])


def _growth_in_theta(
    context: JobContext, weeks: pd.DataFrame, first_day: date, learners: int, scored: int
) -> pd.DataFrame:
    """Growth in theta of every learner and week with a scored answer, null where a fortnight has too few."""
    if not scored:
        return pd.DataFrame(columns=["learner", "week_start", "source", "n"])
    bank = db.read_frame(context.connection, "kpis/bank").set_index("item").astype("float64")
    last_days = np.array([(day - first_day).days for day in weeks["last_day"]])
    shards = max(context.params.shards, -(-scored // ATTEMPTS_A_SHARD))
    edges = np.linspace(0, learners, shards + 1).astype(int).tolist()
    parts = []
    with track("growth, learner shards", shards) as progress:
        for after, up_to in pairwise(edges):
            lines = db.read_frame(
                context.connection, "kpis/scored_answers", first_day=first_day, after=after, up_to=up_to
            )["lines"]
            parts.append(fortnight_growth(_parse(lines), bank, last_days))
            progress.advance()
    growth = pd.concat(parts).sort_values(["week", "learner"], ignore_index=True).assign(source="theta")
    growth["week_start"] = weeks["week_start"].to_numpy()[growth.pop("week")]
    growth["reason"] = growth.pop("useless").map({True: USELESS_GROWTH})
    shrunk = [_shrink(rows) for _, rows in growth.dropna(subset="raw").groupby("week_start")]
    return growth.join(pd.concat(shrunk)) if shrunk else growth


def _shrink(growth: pd.DataFrame) -> pd.DataFrame:
    """Posterior growth of one week's learners, with the index of `growth`."""
    raw, se = growth["raw"].to_numpy(), growth["se"].to_numpy()
    cohort = estimate_cohort(raw, se)
    return posterior_growth(raw, se, cohort).set_index(growth.index).assign(m=cohort.m, tau=cohort.tau)


def _growth_in_accuracy(context: JobContext) -> pd.DataFrame:
    """Growth in accuracy of the learners and weeks that have no growth in theta but enough answers for this."""
    counts = db.read_frame(
        context.connection,
        "kpis/accuracy_counts",
        answers_needed=ANSWERS_A_FORTNIGHT,
        others_needed=OTHERS_AN_ITEM,
    )
    keys = counts[["learner", "week_start"]].assign(source="accuracy", n=counts["n_recent"] + counts["n_previous"])
    return keys.join(growth_in_accuracy(counts))


def _parse(lines: "pd.Series[str]") -> dict[str, NDArray[Any]]:
    """Parse the lines of scored answers, a column an array."""
    if lines.empty:
        return {column: np.empty(0, dtype=kind.to_pandas_dtype()) for column, kind in _SCORED_ANSWER.items()}
    table = pyarrow.csv.read_csv(
        pa.py_buffer("\n".join(lines).encode()),
        read_options=pyarrow.csv.ReadOptions(column_names=list(_SCORED_ANSWER)),
        convert_options=pyarrow.csv.ConvertOptions(column_types=_SCORED_ANSWER),
    )
    return {column: table[column].to_numpy() for column in _SCORED_ANSWER}


JOB = Job(name="compute_daily_kpis", run=run)
