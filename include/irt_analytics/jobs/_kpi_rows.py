"""The rows of weekly_kpi: what rests on a learner's own answers, and growth beside that of the cohort."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from irt_analytics.jobs._growth import (
    ANSWERS_A_FORTNIGHT,
    FORTNIGHT_DAYS,
    estimate_cohort,
    growth_in_accuracy,
    posterior_growth,
)
from irt_analytics.jobs._windows import REACH_DAYS, days_since_1970

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from irt_analytics.jobs._kpi_findings import Findings

    Integers = NDArray[np.int64]

#: Rows that are made at a time.
ROWS = 65_536
#: Other learners' answers that an item needs before a learner's accuracy on it is compared with theirs.
OTHERS_AN_ITEM = 5
#: Numbers of a learner's growth, as in the names of weekly_kpi's columns; value is i_t itself.
GROWTH = ("value", "lower", "upper", "raw", "se", "pr_positive", "m", "tau")
#: Why a KPI is null. Growth may also be so although the answers are enough in number.
REASONS = {
    "i_t": "fewer than 5 first attempts that count in the recent or the previous fortnight",
    "e_t": "fewer than 15 timed correct first attempts that count in the recent or the previous four weeks",
    "r_t": "fewer than 5 items answered wrong and tried again in a later session",
}
USELESS_GROWTH = "the answers of the two fortnights say too little of ability"
NO_TIMES = "response times are not recorded"
#: What a KPI rests on.
GROWTH_SOURCES = ("theta", "accuracy")
SESSIONS = ("no session", "recorded sessions", "recorded and derived sessions", "derived sessions")
#: Terms of a_t that are left out where the first, the second or either has no input.
DROPPED = pa.array(
    [None, ["hints_per_attempt"], ["median_session_seconds"], ["hints_per_attempt", "median_session_seconds"]],
    type=pa.list_(pa.string()),
)


def weekly_rows(found: Findings, weeks: pd.DataFrame, as_of: date) -> Iterator[pd.DataFrame]:
    """Give the rows of weekly_kpi, but for tenant_id and as_of, `ROWS` at a time, in the order of learners and weeks.

    Args:
        found: of all learners.
        weeks: week_start and last_day of each week.
        as_of: the run's day.
    """
    growth = _growth(found, days_since_1970(weeks["last_day"].tolist()))
    week_starts = weeks["week_start"].to_numpy(dtype="datetime64[s]")
    monday = np.datetime64(as_of - timedelta(days=as_of.weekday()))
    user_ids = pd.Index(found.learners["user_id"])
    no_times = None if found.counts["timed"] else NO_TIMES
    for start in range(0, len(found.weekly), ROWS):
        own = found.weekly.iloc[start : start + ROWS]
        week_start = week_starts[own["week"].to_numpy()]
        columns: dict[str, Any] = {
            "user_id": user_ids.take(own["learner"].to_numpy()),
            "week_start": week_start,
            "reconstructed": week_start < monday,
        }
        columns |= _columns_of_growth(growth.reindex(_key(own, len(user_ids))))
        columns |= _columns_of_activity(own)
        for kpi, source, reason in (("e_t", "response times", no_times), ("r_t", "answers", None)):
            known = own[kpi].notna().to_numpy()
            columns |= {name: own[name].to_numpy() for name in (kpi, f"{kpi}_lower", f"{kpi}_upper", f"{kpi}_n")}
            columns[f"{kpi}_source"] = _texts(np.where(known, 0, -1), (source,))
            columns[f"{kpi}_reason"] = _texts(np.where(known, -1, 0), (reason or REASONS[kpi],))
        yield pd.DataFrame(columns)


def growth_in_theta(growth: pd.DataFrame) -> pd.DataFrame:
    """Shrink growth in theta towards that of the week's cohort.

    Args:
        growth: of all learners, as `fortnight_growth` gives it; learners ascend within a week.

    Returns:
        It, week by week, with value, lower, upper, pr_positive, m and tau: NaN where raw is.
    """
    growth = growth.sort_values("week", kind="stable", ignore_index=True)
    shrunk = [_shrink(rows) for _, rows in growth.dropna(subset="raw").groupby("week")]
    return (
        growth.join(pd.concat(shrunk))
        if shrunk
        else growth.reindex(columns=[*growth.columns, *(name for name in GROWTH if name not in growth)])
    )


def accuracy_counts(found: Findings, wanted: pd.DataFrame, last_days: Integers) -> pd.DataFrame:
    """What growth in accuracy is computed from: first answers against the share right among other learners'.

    Args:
        found: of all learners.
        wanted: learner and week, of learners in `Findings.off_bank`; learners ascend within a week.
        last_days: last day of each week.

    Returns:
        DataFrame with the index of `wanted`: in the recent and the previous fortnight n_<window> answers, x_<window> of
        them right, e_<window> expected right, from the share right of each item among the first attempts of other
        learners in the same eight weeks.
    """
    counts = []
    for week in np.unique(wanted["week"]):
        rows, last_day = wanted[wanted["week"] == week], int(last_days[week])
        in_window = found.item_days[found.item_days["day"].between(last_day - REACH_DAYS, last_day)]
        of_items = in_window.groupby("item_id")[["n", "x"]].sum()
        answers = found.off_bank[found.off_bank["day"].between(last_day - 2 * FORTNIGHT_DAYS + 1, last_day)]
        answers = answers[answers["learner"].isin(rows["learner"])]
        answers = answers.join(of_items[of_items["n"] > OTHERS_AN_ITEM], on="item_id", how="inner")
        of_row = np.searchsorted(rows["learner"].to_numpy(), answers["learner"].to_numpy())
        correct = answers["correct"].to_numpy()
        expected = ((answers["x"] - correct) / (answers["n"] - 1)).to_numpy()
        recent = (answers["day"] > last_day - FORTNIGHT_DAYS).to_numpy()
        columns = {
            f"{name}_{window}": np.bincount(of_row[inside], values[inside], minlength=len(rows))
            for window, inside in (("recent", recent), ("previous", ~recent))
            for name, values in (("n", np.ones(len(answers))), ("x", correct), ("e", expected))
        }
        counts.append(pd.DataFrame(columns, index=rows.index))
    return pd.concat(counts)


def _growth(found: Findings, last_days: Integers) -> pd.DataFrame:
    """Growth in theta, or in accuracy where that is not known, by `_key`: n, useless, in_accuracy, `GROWTH`."""
    learners = len(found.learners)
    growth = growth_in_theta(found.growth)
    growth = growth.set_index(pd.Index(_key(growth, learners)))
    growth = growth.assign(useless=growth["useless"].astype(np.int8), in_accuracy=np.int8(0))
    of_off_bank = found.weekly.loc[found.weekly["learner"].isin(found.off_bank["learner"]), ["learner", "week"]]
    of_off_bank = of_off_bank.set_index(pd.Index(_key(of_off_bank, learners))).sort_index()
    without = of_off_bank[~of_off_bank.index.isin(growth.index[growth["value"].notna()])]
    if without.empty:
        return growth
    counts = accuracy_counts(found, without, last_days)
    counts = counts[counts[["n_recent", "n_previous"]].min(axis="columns") >= ANSWERS_A_FORTNIGHT]
    accuracy = growth_in_accuracy(counts).assign(
        n=counts["n_recent"] + counts["n_previous"], useless=np.int8(0), in_accuracy=np.int8(1)
    )
    return pd.concat([growth[~growth.index.isin(accuracy.index)], accuracy]).sort_index()


def _shrink(growth: pd.DataFrame) -> pd.DataFrame:
    """Posterior growth of one week's learners, with the index of `growth`."""
    raw, se = growth["raw"].to_numpy(), growth["se"].to_numpy()
    cohort = estimate_cohort(raw, se)
    return posterior_growth(raw, se, cohort).set_index(growth.index).assign(m=cohort.m, tau=cohort.tau)


def _key(rows: pd.DataFrame, learners: int) -> Integers:
    """Numbers of learners' weeks, week by week."""
    key: Integers = rows["week"].to_numpy(dtype=np.int64) * learners + rows["learner"].to_numpy(dtype=np.int64)
    return key


def _columns_of_growth(growth: pd.DataFrame) -> dict[str, Any]:
    """i_t and its columns; a row of NaN is of a learner without an answer in either fortnight."""
    known = growth["value"].notna().to_numpy()
    in_accuracy, useless = (growth[name].fillna(0).to_numpy(dtype=np.int64) for name in ("in_accuracy", "useless"))
    columns: dict[str, Any] = {f"i_t_{name}": growth[name].to_numpy() for name in GROWTH}
    return {
        "i_t": columns.pop("i_t_value"),
        **columns,
        "i_t_n": growth["n"].fillna(0).to_numpy(dtype=np.int64),
        "i_t_source": _texts(np.where(known, in_accuracy, -1), GROWTH_SOURCES),
        "i_t_reason": _texts(np.where(known, -1, useless), (REASONS["i_t"], USELESS_GROWTH)),
    }


def _columns_of_activity(own: pd.DataFrame) -> dict[str, Any]:
    """a_t and its columns."""
    kind = np.where(own["all_derived"], 3, np.where(own["some_derived"], 2, 1))
    dropped = own["no_hints"].to_numpy(dtype=np.int64) + 2 * own["no_seconds"].to_numpy(dtype=np.int64)
    return {
        **{name: own[name].to_numpy() for name in ("a_t_lower", "a_t_upper", "a_t_n")},
        "a_t": own["a_t"].fillna(0).to_numpy(),
        "a_t_source": _texts(np.where(own["a_t"].notna(), kind, 0), SESSIONS),
        "a_t_dropped": pd.arrays.ArrowExtensionArray(DROPPED.take(pa.array(dropped))),
    }


def _texts(place: NDArray[np.integer[Any]], texts: tuple[str, ...]) -> Any:
    """The text of each place, missing where it is -1."""
    return pd.Categorical.from_codes(place.astype(np.int8), categories=pd.Index(texts))
