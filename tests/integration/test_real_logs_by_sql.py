"""KPIs and daily features against queries that define each anew from the answers, on logs that nobody made up.

A shifted window, a repeat taken for a first attempt or a null filled in would mislead every reader of the report. Four
learners of each log are looked at: the three with most answers in the eight weeks up to the day, and the one with
fewest; of each learner, the two topics with most answers. The real logs record no hints and have no learner with
fifteen timed correct first attempts in two four-week windows; a simulated log has both.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.databases import settings_of
from tests.integration import kpi_reference as reference
from tests.integration.chain import copy_of
from tests.integration.kpi_reference import Answer, BankItem
from tests.integration.logs import query, rows_of, run, write_log

from irt_analytics import db
from irt_analytics.ingest import load_log
from irt_analytics.settings import Settings
from irt_analytics.simulate import simulate_cohort

DATA = Path(__file__).parents[3] / "shared" / "data"
SQL = Path(__file__).parent / "sql"
LAST_DAYS = {"statistics_practice": date(2015, 12, 6), "middle_school_math": date(2005, 5, 16)}
SIMULATED = "simulated"
SIMULATED_LAST_DAY = date(2026, 3, 4)

KPIS = ["a_t", "a_t_n", "e_t", "e_t_n", "r_t", "r_t_lower", "r_t_upper", "r_t_n"]
FEATURES = ["attempts", "correct", "first_attempts", "avg_time_ms", "rt_median_ms", "hints", "improvement"]
#: KPIs that at least one week of the learners looked at must have, by log.
KNOWN = {
    "statistics_practice": {"a_t", "r_t"},
    "middle_school_math": {"a_t", "r_t"},
    SIMULATED: {"a_t", "e_t", "r_t"},
}


@dataclass(frozen=True)
class Analysed:
    """A database in which the KPIs of a log were computed, and the learners to look at."""

    name: str
    settings: Settings
    as_of: date
    learners: list[str]
    kpis: pd.DataFrame
    features: pd.DataFrame

    def select(self, statement: str, **values: Any) -> pd.DataFrame:
        """Rows of a query of tests/integration/sql."""
        text = (SQL / f"{statement}.sql").read_text(encoding="utf-8")
        with db.connect(self.settings) as connection:
            cursor = connection.execute(text.encode(), {"tenant": "default", "as_of": self.as_of} | values)
            assert cursor.description is not None
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])

    def last_day(self, week_start: date) -> date:
        return min(week_start + timedelta(6), self.as_of)


@pytest.fixture(scope="module", params=[*LAST_DAYS, SIMULATED])
def analysed(request: pytest.FixtureRequest, postgres_url: str, template_database: str) -> Iterator[Analysed]:
    name: str = request.param
    path = DATA / f"{name}_attempts.csv.gz"
    if name != SIMULATED and not path.exists():
        pytest.skip(f"the real logs are not here: ../shared/data/{path.name} is missing")
    with ExitStack() as stack:
        settings = settings_of(stack.enter_context(copy_of(postgres_url, template_database, f"by_sql_{name}")))
        if name == SIMULATED:
            as_of = SIMULATED_LAST_DAY
            write_log(settings, simulate_cohort(120, 120, 6, 14, seed=3, as_of=as_of, activity=1.5).attempts)
        else:
            as_of = LAST_DAYS[name]
            load_log(settings, path)
        for job in ("mirt_calibrate", "features_backfill", "compute_daily_kpis"):
            assert run(settings, job, as_of) == 0, job
        kpis, features = (rows_of(settings, table) for table in ("weekly_kpi", "features_topic_daily"))
        found = Analysed(name, settings, as_of, [], kpis, features)
        learners = found.select("busiest_learners")["student_id"]
        found.learners.extend([*learners[:3], learners.iloc[-1]])
        yield found


def compared(frame: pd.DataFrame, key: str, columns: list[str]) -> pd.DataFrame:
    """Values by key, every missing one NaN."""
    return frame.set_index(key).sort_index()[columns].astype("float64")


def test_kpis(analysed: Analysed) -> None:
    """Activity, efficiency, resolution with its interval, counts and nulls, in every week a learner has a row for."""
    window = query(analysed.settings, "select window_start, window_end from mirt_fit_meta where published")
    bank = {"bank_start": window["window_start"].item(), "bank_end": window["window_end"].item()}
    monday = analysed.as_of - timedelta(analysed.as_of.weekday())
    weeks = [monday - timedelta(7 * ago) for ago in range(26)]
    known: set[str] = set()
    for learner in analysed.learners:
        found = compared(analysed.kpis[analysed.kpis["user_id"] == learner], "week_start", KPIS)
        expected = pd.concat(
            analysed.select("weekly_kpi", learner=learner, **(bank | {"as_of": analysed.last_day(week)})).assign(
                week_start=week
            )
            for week in weeks
        )
        pd.testing.assert_frame_equal(
            found, compared(expected, "week_start", KPIS), rtol=0, atol=1e-6, check_index_type=False, obj=learner
        )
        known |= set(found.columns[found.notna().any()])
    assert known.intersection(("a_t", "e_t", "r_t")) == KNOWN[analysed.name]
    last = analysed.kpis[(analysed.kpis["user_id"] == analysed.learners[-1]) & ~analysed.kpis["reconstructed"]]
    if analysed.name != SIMULATED:
        assert last[["e_t", "r_t"]].isna().all(axis=None), "the learner with fewest answers"


def test_growth_in_theta(analysed: Analysed) -> None:
    """The raw difference of theta between the fortnights, by a plain maximisation."""
    bank = {
        item["item_id"]: BankItem(item["a"], item["b"], reference.known(item["median_time_ms"]))
        for item in query(analysed.settings, "select * from mirt_item_params").to_dict("records")
    }
    checked = 0
    for learner in analysed.learners:
        log = query(analysed.settings, "select * from attempt where student_id = %s", learner)
        for kpi in analysed.kpis[analysed.kpis["user_id"] == learner].to_dict("records"):
            day = analysed.last_day(kpi["week_start"])
            answers: list[Answer] = reference.answers_of(log, learner, day)
            raw, n = reference.growth(answers, day, bank)
            if kpi["i_t_source"] == "accuracy":
                assert raw is None
            else:
                assert (kpi["i_t_n"], bool(pd.isna(kpi["i_t_raw"]))) == (n, raw is None), (learner, day)
            if raw is not None:
                assert kpi["i_t_raw"] == pytest.approx(raw, abs=1e-5), (learner, day)
                checked += 1
    assert checked


def test_what_is_not_recorded_is_said(analysed: Analysed) -> None:
    kpis = analysed.kpis
    dropped = set(kpis["a_t_dropped"].dropna().explode())
    if analysed.name == SIMULATED:
        assert not dropped
        return
    assert "hints_per_attempt" in dropped
    if analysed.name == "middle_school_math":
        assert set(kpis["e_t_reason"]) == {"response times are not recorded"}
        assert set(kpis["a_t_source"]) == {"derived sessions", "no session"}


def test_daily_features_of_two_topics(analysed: Analysed) -> None:
    """Every day a learner answered in a topic, and no other: counts, times, hints and improvement, and their nulls."""
    features = analysed.features
    days, topics_seen = 0, []
    for learner in analysed.learners:
        topics = analysed.select("busiest_topics", learner=learner)["topic_id"].tolist()
        topics_seen.append(len(topics))
        for topic in topics:
            of_topic = features[(features["user_id"] == learner) & (features["topic_id"] == topic)]
            expected = analysed.select("features_topic_daily", learner=learner, topic=topic)
            pd.testing.assert_frame_equal(
                compared(of_topic, "date", FEATURES), compared(expected, "date", FEATURES), check_index_type=False
            )
            days += len(expected)
    assert topics_seen[:3] == [2, 2, 2]
    assert days > 6


def test_theta_of_the_week_s_features(analysed: Analysed) -> None:
    """A feature shows the learner's theta in its topic, the overall one only where there is none, and says which.

    The theta of past weeks is stored nowhere else.
    """
    key, theta = ["user_id", "topic_id", "date"], ["theta_mean", "theta_sd", "theta_source"]
    known = analysed.select("features_theta").set_index(key).sort_index()
    of_topic, of_learner = known["topic_theta"].notna(), known["ability_theta"].notna()
    expected = pd.DataFrame(
        {
            "theta_mean": known["topic_theta"].where(of_topic, known["ability_theta"]).astype("float64"),
            "theta_sd": known["topic_se"].where(of_topic, known["ability_se"]).astype("float64"),
            "theta_source": np.select([of_topic, of_learner], ["student_topic_theta", "mirt_ability"], ""),
        }
    )
    features = analysed.features
    monday = analysed.as_of - timedelta(analysed.as_of.weekday())
    found = features[features["date"] >= monday].set_index(key).sort_index()[theta].fillna({"theta_source": ""})
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)
    seen = {"student_topic_theta"} if analysed.name == SIMULATED else {"student_topic_theta", "mirt_ability"}
    assert seen <= set(expected["theta_source"])


def test_every_day_of_every_learner_and_topic_has_features(analysed: Analysed) -> None:
    answered = query(
        analysed.settings,
        """
        select distinct student_id, topic_id, (completed_at at time zone 'UTC')::date
        from attempt
        where (completed_at at time zone 'UTC')::date between %s and %s
        """,
        analysed.as_of - timedelta(181),
        analysed.as_of,
    )
    found = analysed.features[["user_id", "topic_id", "date"]]
    assert set(found.itertuples(index=False, name=None)) == set(answered.itertuples(index=False, name=None))
    assert len(found) == len(answered)


def test_weekly_theta_is_of_weeks_with_answers(analysed: Analysed) -> None:
    weeks = rows_of(analysed.settings, "student_week_theta")
    dates = pd.to_datetime(analysed.features["date"])
    mondays = (dates - pd.to_timedelta(dates.dt.day_of_week, unit="D")).dt.date
    assert set(weeks["week_start"]) <= set(mondays)
    this_week = analysed.as_of - timedelta(analysed.as_of.weekday())
    assert np.array_equal(weeks["reconstructed"], weeks["week_start"] < this_week)
