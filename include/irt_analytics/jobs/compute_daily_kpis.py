"""Learner KPIs of the day's week: growth I_t, activity A_t, efficiency E_t and resolution R_t.

The answers of the windows are prepared once in temporary tables, for the day's week and for every past week that no
run has seen complete; each week looks only at answers up to its own last day. The KPIs are set-based SQL; theta of the
fortnights behind I_t comes from the engine, some learners at a time. What rests on one learner's answers can be
computed in shards by other processes; what compares a learner with the cohort is this job's.
"""

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from psycopg import sql

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
from irt_analytics.jobs._parts import Kept, basis, columns_of, forget, keep, rows_of, take
from irt_analytics.jobs._windows import create, prepare_answers, set_planner
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.progress import track
from irt_analytics.runner import Job, JobContext

#: Temporary tables of the KPIs that have a row a learner.
BY_LEARNER = ("kpi_learner_week", "kpi_a_t", "kpi_e_t", "kpi_r_t", "kpi_theta_growth")
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
    rests_on = _basis(context, weeks)
    kept = take(context, rests_on) if context.shard is None else None
    counts, growth = _compute(context, weeks, first_day) if kept is None else _load(context, weeks, kept)
    _count(context, counts)
    if context.shard is not None:
        _keep(context, rests_on, counts, growth)
        return

    db.execute(connection, "kpis/create_growth")
    if len(growth):
        db.copy_frame(connection, "kpi_growth", _growth_in_theta(weeks, growth))
    db.copy_frame(connection, "kpi_growth", _growth_in_accuracy(context))
    connection.execute("analyze kpi_growth")
    db.ensure_partitions(connection, [context.as_of])
    written = db.execute(connection, "kpis/save", times_recorded=counts["timed"] > 0, **day)
    db.execute(connection, "kpis/delete_gone", **day)
    db.execute(connection, "kpis/blank_gone", **day)
    if kept is not None:
        forget(context)
    record.wrote("weekly_kpi", written)
    if not written:
        raise Skip(f"no answer from {first_day} to {context.as_of}", keep_writes=True)


def _basis(context: JobContext, weeks: pd.DataFrame) -> str:
    published = db.read_frame(
        context.connection, "features/calibration", tenant_id=context.tenant, as_of=context.as_of
    )["run_id"].tolist()
    return basis(context, " ".join([*published, *map(str, weeks["last_day"])]))


def _compute(context: JobContext, weeks: pd.DataFrame, first_day: date) -> tuple[Counter[str], pd.DataFrame]:
    """Make the temporary tables of everything that depends on one learner's answers, of all learners or of the shard's.

    Returns:
        Numbers of what the windows hold, and growth in theta as `fortnight_growth` gives it.
    """
    week_days = {"week_starts": weeks["week_start"].tolist(), "last_days": weeks["last_day"].tolist()}
    prepare_answers(context, first_day)
    create(context, "kpis/create_week", "kpi_week", **week_days)
    create(context, "kpis/create_learner_week", "kpi_learner_week")
    create(context, "kpis/create_item_day", "kpi_item_day")
    counts: Counter[str] = Counter()
    for name, number in db.read_frame(context.connection, "kpis/prepared").iloc[0].items():
        counts[str(name)] = int(number)
    growth = _raw_growth(context, weeks, first_day, counts)
    with track("activity, efficiency, resolution", 3) as progress:
        for name, minimum in (
            ("a_t", {}),
            ("e_t", {"answers_needed": ANSWERS_A_LONG_WINDOW}),
            ("r_t", {"items_needed": ITEMS_TRIED_AGAIN}),
        ):
            create(context, f"kpis/{name}", f"kpi_{name}", z=Z95, **minimum)
            progress.advance(1, name)
    return counts, growth


def _count(context: JobContext, counts: Counter[str]) -> None:
    record = context.record
    record.read("attempt", counts["answers"])
    items = db.read_frame(context.connection, "features/bank", tenant_id=context.tenant, as_of=context.as_of)
    record.read("published_items", len(items))
    counted_as = f"first attempts counted as {context.params.invalid_answers}"
    record.exclude("timed-out answers", counts["timed_out"], counted_as)
    record.exclude("rapid answers", counts["rapid"], f"{counted_as}; under a tenth of the item's median time")
    record.exclude("first attempts on items that are not in the bank", counts["uncalibrated"], "no part in theta")


def _keep(context: JobContext, rests_on: str, counts: Counter[str], growth: pd.DataFrame) -> None:
    """Keep the shard's temporary tables, by learners' ids."""
    connection = context.connection
    db.execute(connection, "kpis/create_theta_growth")
    db.copy_frame(connection, "kpi_theta_growth", growth)
    queries: dict[str, sql.Composable] = {"kpi_item_day": rows_of("kpi_item_day")}
    for table in BY_LEARNER:
        columns = [name for name in columns_of(connection, table) if name not in ("learner", "user_id")]
        queries[table] = sql.SQL("select {} from {} as part join kpi_learner using (learner)").format(
            sql.SQL(", ").join(map(sql.Identifier, ["user_id", *columns])), sql.Identifier(table)
        )
    queries["kpi_learner"] = sql.SQL("select user_id from kpi_learner")
    # of all learners' first attempts, only these are looked at again once the cohort's are known
    queries["kpi_first_attempt"] = sql.SQL(
        """
        select user_id, item, item_id, day, outcome
        from kpi_first_attempt
        join kpi_learner using (learner)
        where learner in (select learner from kpi_first_attempt where item is null and outcome is not null)
        """
    )
    keep(context, rests_on, queries, counts)


def _load(context: JobContext, weeks: pd.DataFrame, kept: Kept) -> tuple[Counter[str], pd.DataFrame]:
    """Make the temporary tables, and return what `_compute` does, from what all shards kept."""
    connection = context.connection
    set_planner(context)
    week_days = {"week_starts": weeks["week_start"].tolist(), "last_days": weeks["last_day"].tolist()}
    create(context, "kpis/create_week", "kpi_week", **week_days)
    kept.create("kpi_learner")
    create(context, "kpis/number_learners", "kpi_learner")
    kept.create("kpi_item_day")
    connection.execute("alter table part_kpi_item_day rename to kpi_item_day")
    for table in (*BY_LEARNER, "kpi_first_attempt"):
        kept.create(table)
        columns = [name for name in columns_of(connection, f"part_{table}") if name != "user_id"]
        connection.execute(
            sql.SQL(
                "create temporary table {} on commit drop as select {} from {} join kpi_learner using (user_id)"
            ).format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, ["learner", *columns])),
                sql.Identifier(f"part_{table}"),
            )
        )
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(f"part_{table}")))
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
    growth = db.read_frame(connection, "kpis/theta_growth")
    for name in ("raw", "se"):
        growth[name] = growth[name].to_numpy(dtype=np.float64, na_value=np.nan)
    whole = {name: growth[name].to_numpy(dtype=kind) for name, kind in (("week", np.int64), ("useless", np.bool_))}
    return kept.counts, growth.assign(**whole)


def _raw_growth(context: JobContext, weeks: pd.DataFrame, first_day: date, counts: Counter[str]) -> pd.DataFrame:
    """Growth in theta of every learner and week with a scored answer, before it is compared with the cohort's."""
    if not counts["scored"]:
        return pd.DataFrame(columns=["learner", "week", "n", "raw", "se", "useless"])
    bank = db.read_frame(context.connection, "kpis/bank").set_index("item").astype("float64")
    last_days = np.array([(day - first_day).days for day in weeks["last_day"]])
    shards = max(context.params.shards, -(-counts["scored"] // ATTEMPTS_A_SHARD))
    edges = np.linspace(0, counts["learners"], shards + 1).astype(int).tolist()
    parts = []
    with track("growth, learner shards", shards) as progress:
        for after, up_to in pairwise(edges):
            lines = db.read_frame(
                context.connection, "kpis/scored_answers", first_day=first_day, after=after, up_to=up_to
            )["lines"]
            parts.append(fortnight_growth(_parse(lines), bank, last_days))
            progress.advance()
    return pd.concat(parts)


def _growth_in_theta(weeks: pd.DataFrame, growth: pd.DataFrame) -> pd.DataFrame:
    """Rows of kpi_growth: null where a fortnight has too few answers."""
    growth = growth.sort_values(["week", "learner"], ignore_index=True).assign(source="theta")
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
