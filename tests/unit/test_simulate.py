"""The simulated cohort must hold exactly what its truth says: recovery tests and the demo rest on it."""

import gzip
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from irt_analytics import simulate
from irt_analytics.errors import ConfigurationError
from irt_analytics.simulate import Cohort, Plan, simulate_blocks, simulate_cohort, write_files

AS_OF = date(2026, 1, 31)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(learners=2000, as_of=AS_OF)


def _first(cohort: Cohort) -> pd.DataFrame:
    return cohort.attempts[cohort.attempts["attempt_no"] == 1]


def _with_ability(cohort: Cohort, attempts: pd.DataFrame) -> pd.DataFrame:
    """Attempts with the theta (linear between weekly knots, plus topic deviation) and the item behind each."""
    days = (attempts["completed_at"].dt.tz_localize(None).dt.normalize() - cohort.truth.theta["date"].min()).dt.days
    knots = cohort.truth.theta.pivot_table(index="student_id", columns="date", values="theta", sort=False)
    row = knots.index.get_indexer(pd.Index(attempts["student_id"]))
    values = knots.to_numpy()
    week, part = (days // 7).to_numpy(), (days % 7).to_numpy() / 7
    theta = values[row, week] * (1 - part) + values[row, week + 1] * part
    joined = attempts.merge(cohort.truth.topics, on=["student_id", "topic_id"], how="left").merge(
        cohort.truth.items, on=["item_id", "topic_id"], how="left"
    )
    return joined.assign(ability=theta + joined["deviation"].to_numpy())


def test_same_seed_gives_the_same_cohort_and_another_seed_another() -> None:
    one, two, other = (simulate_cohort(50, as_of=AS_OF, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.attempts, two.attempts)
    pd.testing.assert_frame_equal(one.goals, two.goals)
    assert not one.truth.items["b"].equals(other.truth.items["b"])


def test_blocks_of_learners_share_items_and_never_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cohort too big for one block must not repeat learners or change items half-way."""
    monkeypatch.setattr(simulate, "BLOCK_LEARNERS", 40)
    blocks = list(simulate_blocks(Plan(AS_OF, learners=100)))
    assert [len(block.truth.learners) for block in blocks] == [40, 40, 20]
    assert all(block.truth.items is blocks[0].truth.items for block in blocks)
    whole = simulate_cohort(100, as_of=AS_OF)
    assert whole.truth.learners["student_id"].is_unique
    assert whole.attempts["student_id"].isin(whole.truth.learners["student_id"]).all()
    assert not blocks[0].truth.learners["growth"].isin(blocks[1].truth.learners["growth"]).any()


def test_log_is_consistent(cohort: Cohort) -> None:
    attempts = cohort.attempts
    begin = datetime.combine(AS_OF - timedelta(days=181), time(), UTC)
    end = datetime.combine(AS_OF + timedelta(days=1), time(), UTC)
    assert attempts["completed_at"].between(begin, end, inclusive="left").all()
    assert attempts["completed_at"].max() > end - timedelta(days=1)
    duration = (attempts["completed_at"] - attempts["started_at"]).dt.total_seconds() * 1000
    assert np.allclose(duration, attempts["response_time_ms"])
    order = attempts.groupby(["student_id", "item_id"])["completed_at"].rank(method="first").astype(int)
    assert (order == attempts["attempt_no"]).all()
    same_session = attempts["session_id"] == attempts["session_id"].shift()
    assert (attempts["started_at"] >= attempts["completed_at"].shift())[same_session].all()
    gap = attempts["started_at"] - attempts["completed_at"].shift()
    same_learner = attempts["student_id"] == attempts["student_id"].shift()
    assert (gap[same_learner & ~same_session] > timedelta(minutes=30)).all()
    assert (gap[same_session] < timedelta(minutes=30)).mean() > 0.9999
    assert not attempts.loc[attempts["timed_out"], "correct"].any()
    assert ((attempts["hints"] > 0) == attempts["hint_used"]).all()
    assert attempts["item_id"].isin(cohort.questions["item_id"]).all()


def test_first_answers_follow_the_planted_2pl(cohort: Cohort) -> None:
    """Calibration tests compare with these items: an answer must be right as often as the model says."""
    first = _with_ability(cohort, _first(cohort))
    first = first[~first["timed_out"] & (first["response_time_ms"] > 100 * np.exp(first["time_intensity"]))]
    expected = 1 / (1 + np.exp(-first["a"] * (first["ability"] - first["b"])))
    residual = first["correct"] - expected
    bins = pd.qcut(expected, 10)
    z = residual.groupby(bins, observed=True).sum() / np.sqrt(
        (expected * (1 - expected)).groupby(bins, observed=True).sum()
    )
    assert stats.chi2.sf((z**2).sum(), 10) > 0.001


def test_items_are_routed_by_ability(cohort: Cohort) -> None:
    """Without routing the demo would not show why calibration needs groups of known ability."""
    first = _with_ability(cohort, _first(cohort))
    means = first.groupby("student_id")[["ability", "b"]].mean()
    assert np.corrcoef(means["ability"], means["b"])[0, 1] > 0.5


def test_planted_growth_by_segment_and_theta_on_a_day(cohort: Cohort) -> None:
    learners = cohort.truth.learners.set_index("student_id")
    stayed = learners["started_on"] == learners["started_on"].min()
    gain = cohort.truth.theta_on(AS_OF) - cohort.truth.theta_on(AS_OF - timedelta(days=70))
    slope = (gain / 10)[stayed].groupby(learners["segment"]).agg(["mean", "sem"])
    planted = simulate.SEGMENTS.set_index("segment")["growth"].reindex(slope.index)
    assert (abs(slope["mean"] - planted) < 4 * slope["sem"]).all()
    with pytest.raises(ValueError, match="expected a day from"):
        cohort.truth.theta_on(AS_OF + timedelta(days=30))


def test_churn_follows_the_planted_hazard(cohort: Cohort) -> None:
    """The churn model's recovery is judged against this hazard."""
    learners = cohort.truth.learners
    days = (learners["churned_at"].dt.tz_localize(None) - learners["started_on"]).dt.total_seconds() / 86_400
    assert stats.kstest(days * learners["churn_hazard"], "expon").pvalue > 0.001
    last = cohort.attempts.groupby("student_id")["completed_at"].max()
    assert (last < learners.set_index("student_id")["churned_at"].reindex(last.index)).all()
    left = learners["churned_at"] <= pd.Timestamp(AS_OF, tz="UTC")
    assert 0.2 < left.mean() < 0.6


def test_efficient_learners_speed_up_and_hint_heavy_ones_ask(cohort: Cohort) -> None:
    attempts = cohort.attempts.merge(cohort.truth.learners, on="student_id", suffixes=("", "_rate"))
    attempts = attempts.merge(cohort.truth.items[["item_id", "time_intensity"]], on="item_id")
    hints = attempts.groupby("segment")["hints"].mean()
    assert hints.idxmax() == "hint_heavy"
    assert hints["hint_heavy"] > 3 * hints["short_frequent"]
    attempts = attempts[attempts["response_time_ms"] > 100 * np.exp(attempts["time_intensity"])]
    slow = np.log(attempts["response_time_ms"] / 1000) - attempts["time_intensity"] + attempts["speed"]
    weeks = (attempts["completed_at"].dt.tz_localize(None) - attempts["started_on"]).dt.days / 7
    for segment, rows in attempts.groupby("segment").groups.items():
        fit = stats.linregress(weeks[rows], slow[rows])
        planted = simulate.SEGMENTS.set_index("segment").loc[segment, "speed_up"]
        assert abs(-fit.slope - planted) < 0.003  # the time limit cuts the longest times, which costs a little


def test_feedback_makes_a_repeated_item_easier(cohort: Cohort) -> None:
    """R_t has nothing to find unless items missed once are answered better later."""
    repeats = _with_ability(cohort, cohort.attempts[cohort.attempts["attempt_no"] == 2])
    repeats = repeats.merge(cohort.truth.learners[["student_id", "segment", "feedback"]], on="student_id")
    valid = ~repeats["timed_out"] & (repeats["response_time_ms"] > 100 * np.exp(repeats["time_intensity"]))
    for _, rows in repeats[valid].groupby("segment"):
        logit = rows["a"] * (rows["ability"] - rows["b"])

        def score(gain: float, rows: pd.DataFrame = rows, logit: "pd.Series[float]" = logit) -> float:
            return float((rows["correct"] - 1 / (1 + np.exp(-(logit + rows["a"] * gain)))).sum())

        recovered = optimize.brentq(score, -3, 4)
        assert abs(recovered - rows["feedback"].iloc[0]) < 0.25


def test_rapid_guesses_succeed_at_chance(cohort: Cohort) -> None:
    joined = cohort.attempts.merge(cohort.truth.items, on="item_id")
    rapid = joined["response_time_ms"] < 80 * np.exp(joined["time_intensity"])
    count, correct = rapid.sum(), joined.loc[rapid, "correct"].sum()
    assert count > 1000
    assert stats.binomtest(int(correct), int(count), simulate.RAPID_CORRECT).pvalue > 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learners": 0}, "learners=0: expected at least 1"),
        ({"items": 5, "topics": 6}, "items=5: expected at least one for each of 6 topics"),
        ({"activity": 0.0}, "activity=0.0"),
    ],
)
def test_sizes_out_of_range_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        simulate_cohort(as_of=AS_OF, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_hold_the_cohort(tmp_path: Path, kind: simulate.FileKind) -> None:
    plan = Plan(AS_OF, learners=30)
    cohort = simulate_cohort(30, as_of=AS_OF)
    assert write_files(plan, tmp_path, kind) == len(cohort.attempts)
    if kind == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "attempts.parquet"), cohort.attempts)
        learners = pd.read_parquet(tmp_path / "truth_learners.parquet")
    else:
        with gzip.open(tmp_path / "attempts.csv.gz", "rt") as lines:
            assert next(lines).strip().split(",") == list(cohort.attempts.columns)
        attempts = pd.read_csv(tmp_path / "attempts.csv.gz", parse_dates=["completed_at"])
        assert attempts["completed_at"].tolist() == cohort.attempts["completed_at"].tolist()
        learners = pd.read_csv(tmp_path / "truth_learners.csv.gz")
    assert learners["student_id"].tolist() == cohort.truth.learners["student_id"].tolist()
