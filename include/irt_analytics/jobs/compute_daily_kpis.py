"""Learner KPIs of the day's week: growth I_t, activity A_t, efficiency E_t and resolution R_t.

The answers of the windows are read once, some learners at a time, for the day's week and for every past week that no
run has seen complete; each week looks only at answers up to its own last day. What rests on one learner's answers can
be computed in shards by other processes; what compares a learner with the cohort is this job's.
"""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from psycopg import sql

from irt_analytics import db
from irt_analytics.errors import Skip
from irt_analytics.jobs._attempts import starts
from irt_analytics.jobs._growth import (
    ANSWERS_A_FORTNIGHT,
    estimate_cohort,
    fortnight_growth,
    growth_in_accuracy,
    posterior_growth,
)
from irt_analytics.jobs._kpis import activity, efficiency, resolution
from irt_analytics.jobs._parts import Kept, basis, columns_of, forget, keep, rows_of, take
from irt_analytics.jobs._windows import (
    NEVER,
    Answers,
    create,
    days_since_1970,
    read_bank,
    reading_answers,
    session_days,
    set_planner,
    to_dates,
)
from irt_analytics.params import HISTORY_WEEKS
from irt_analytics.runner import Job, JobContext

#: Temporary tables that have rows of learners.
BY_LEARNER = ("kpi_learner_week", "kpi_first_attempt", "kpi_theta_growth")
#: Days that the earliest window reaches back from a week's last day (long previous window).
REACH_DAYS = 55
#: Other learners' answers that an item needs before a learner's accuracy on it is compared with theirs.
OTHERS_AN_ITEM = 5
#: Why growth is null where the answers are enough in number.
USELESS_GROWTH = "the answers of the two fortnights say too little of ability"


def run(context: JobContext) -> None:
    """Write weekly_kpi of as_of's week, and of the past weeks that no earlier run has seen complete."""
    connection, record = context.connection, context.record
    day = {"tenant_id": context.tenant, "as_of": context.as_of}
    weeks = db.read_frame(connection, "kpis/due_weeks", history_weeks=HISTORY_WEEKS, **day)
    first_day = weeks["last_day"].min() - timedelta(days=REACH_DAYS)
    rests_on = _basis(context, weeks)
    kept = take(context, rests_on) if context.shard is None else None
    set_planner(context)
    week_days = {"week_starts": weeks["week_start"].tolist(), "last_days": weeks["last_day"].tolist()}
    create(context, "kpis/create_week", "kpi_week", **week_days)
    bank = read_bank(context)
    counts, growth = _compute(context, weeks, first_day, bank) if kept is None else _load(context, kept)
    _count(context, counts, len(bank))
    if context.shard is not None:
        _keep(context, rests_on, counts, growth)
        return

    db.execute(connection, "kpis/create_growth")
    if len(growth):
        db.copy_frame(connection, "kpi_growth", _growth_in_theta(weeks, growth))
    in_accuracy = _growth_in_accuracy(context)
    if len(in_accuracy):
        db.copy_frame(connection, "kpi_growth", in_accuracy)
        db.execute(connection, "kpis/replace_unknown_growth")
    connection.execute("analyze kpi_growth")
    db.ensure_partitions(connection, [context.as_of])
    db.execute(connection, "kpis/delete_gone", **day)
    db.execute(connection, "kpis/blank_gone", **day)
    written = db.execute(connection, "kpis/save", times_recorded=counts["timed"] > 0, **day)
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


def _compute(
    context: JobContext, weeks: pd.DataFrame, first_day: date, bank: pd.DataFrame
) -> tuple[Counter[str], pd.DataFrame]:
    """Fill the temporary tables of what rests on one learner's answers, of all learners or of the shard's.

    Returns:
        Numbers of what the windows hold, and growth in theta as `fortnight_growth` gives it, learners in the order of
        their ids.
    """
    connection = context.connection
    tables = ("kpi_learner", "kpi_learner_week", "kpi_first_attempt", "kpi_item_day")
    for table in tables:
        db.execute(connection, f"kpis/create_{table.removeprefix('kpi_')}")
    last_days = days_since_1970(weeks["last_day"].tolist())
    counts: Counter[str] = Counter()
    growth: list[pd.DataFrame] = []
    item_days: list[pd.DataFrame] = []
    with reading_answers(context, first_day, bank) as shards, db.writing(connection) as write:
        for answers in shards:
            after = counts["learners"]
            counts.update(_numbers(answers))
            numbers = np.arange(after + 1, counts["learners"] + 1, dtype=np.int32)
            write("kpi_learner", pd.DataFrame({"learner": numbers, "user_id": answers.attempts.student_ids}))
            write("kpi_learner_week", _learner_weeks(answers, weeks, last_days, numbers))
            write("kpi_first_attempt", _off_bank(answers, numbers))
            item_days = [_total(pd.concat([*item_days, _item_days(answers)]))]
            scored = answers.first & answers.evidence & (answers.item >= 0)
            if scored.any():
                columns: dict[str, NDArray[Any]] = {
                    "learner": numbers[answers.attempts.student],
                    "item": answers.item,
                    "day": answers.day,
                    "correct": answers.correct.astype(np.int8),
                }
                taken = {name: values[scored] for name, values in columns.items()}
                growth.append(fortnight_growth(taken, bank[["a", "b", "c"]], last_days))
        for frame in item_days:
            write("kpi_item_day", frame.assign(day=to_dates(frame["day"].to_numpy(dtype=np.int64))))
    for table in tables:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
    if not growth:
        return counts, pd.DataFrame(columns=["learner", "week", "n", "raw", "se", "useless"])
    return counts, pd.concat(growth, ignore_index=True)


def _numbers(answers: Answers) -> dict[str, int]:
    first, timed_out = answers.first, answers.attempts.timed_out
    in_bank = answers.item >= 0
    chosen = {
        "timed": answers.attempts.time_ms >= 0,
        "timed_out": timed_out,
        "rapid": answers.rapid,
        "uncalibrated": ~in_bank,
    }
    numbers = {name: int((first & which).sum()) for name, which in chosen.items()}
    return numbers | {"answers": len(first), "learners": len(answers.attempts.student_ids)}


def _learner_weeks(
    answers: Answers, weeks: pd.DataFrame, last_days: NDArray[np.int64], numbers: NDArray[np.int32]
) -> pd.DataFrame:
    """Rows of kpi_learner_week."""
    parts = session_days(answers)
    day, student = parts["day"].to_numpy(), parts["student"].to_numpy()
    due = np.array(
        [
            np.bincount(student[(day >= last_day - REACH_DAYS) & (day <= last_day)], minlength=len(numbers)) > 0
            for last_day in last_days
        ]
    )
    who, week = np.nonzero(due.T)
    rows = pd.DataFrame({"learner": numbers[who]})
    for name in ("week_start", "last_day"):
        rows[name] = weeks[name].to_numpy(dtype="datetime64[s]")[week]
    for kpi, columns in (
        ("a_t", activity(parts, len(numbers), last_days)),
        ("e_t", efficiency(answers, last_days)),
        ("r_t", resolution(answers, last_days)),
    ):
        for name, values in columns.items():
            own = {"value": kpi, "n": f"{kpi}_n", "lower": f"{kpi}_lower", "upper": f"{kpi}_upper"}.get(name, name)
            rows[own] = values[week, who]
    return rows


def _item_days(answers: Answers) -> pd.DataFrame:
    """Numbers of the first answers that are evidence, and of right ones, by item and day: item_id, day, n, x."""
    rows = np.flatnonzero(answers.first & answers.evidence)
    earliest = answers.day.min(initial=NEVER)
    days = int(np.ptp(answers.day)) + 1 if len(rows) else 1
    key = answers.attempts.item[rows] * np.int64(days) + (answers.day[rows] - earliest)
    order = key.argsort()
    start = starts(key[order])
    item, day = np.divmod(key[order][start], days)
    right = np.append(0, np.cumsum(answers.correct[rows[order]]))
    ends = np.append(start[1:], len(rows))
    return pd.DataFrame(
        {
            "item_id": answers.attempts.item_ids.take(item),
            "day": day + earliest,
            "n": ends - start,
            "x": right[ends] - right[start],
        }
    )


def _total(item_days: pd.DataFrame) -> pd.DataFrame:
    """Numbers by item and day."""
    total: pd.DataFrame = item_days.groupby(["item_id", "day"], sort=False)[["n", "x"]].sum().reset_index()
    return total


def _off_bank(answers: Answers, numbers: NDArray[np.int32]) -> pd.DataFrame:
    """Rows of kpi_first_attempt."""
    counted = answers.first & answers.evidence
    off_bank = np.zeros(len(numbers), dtype=np.bool_)
    off_bank[answers.attempts.student[counted & (answers.item < 0)]] = True
    rows = np.flatnonzero(counted & off_bank[answers.attempts.student])
    return pd.DataFrame(
        {
            "learner": numbers[answers.attempts.student[rows]],
            "item_id": answers.attempts.item_ids.take(answers.attempts.item[rows]),
            "day": to_dates(answers.day[rows]),
            "correct": answers.correct[rows],
        }
    )


def _count(context: JobContext, counts: Counter[str], items: int) -> None:
    record = context.record
    record.read("attempt", counts["answers"])
    record.read("published_items", items)
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
    keep(context, rests_on, queries, counts)


def _load(context: JobContext, kept: Kept) -> tuple[Counter[str], pd.DataFrame]:
    """Make the temporary tables, and return what `_compute` does, from what all shards kept."""
    connection = context.connection
    kept.create("kpi_learner")
    create(context, "kpis/number_learners", "kpi_learner")
    kept.create("kpi_item_day")
    connection.execute("alter table part_kpi_item_day rename to kpi_item_day")
    for table in BY_LEARNER:
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


def _growth_in_theta(weeks: pd.DataFrame, growth: pd.DataFrame) -> pd.DataFrame:
    """Rows of kpi_growth: null where a fortnight has too few answers. The order of learners is that of `growth`."""
    growth = growth.sort_values("week", kind="stable", ignore_index=True).assign(source="theta")
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


JOB = Job(name="compute_daily_kpis", run=run)
