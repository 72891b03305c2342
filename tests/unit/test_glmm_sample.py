"""The sample of learners for the mixed model: a biased or changing one would move the slope with the draw."""

import numpy as np
import pandas as pd
import pytest

from irt_analytics.jobs._glmm_sample import MAX_LEARNERS, draw_sample


def cohort(n: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = rng.normal(size=n)
    start[rng.random(n) < 0.05] = np.nan
    return pd.DataFrame(
        {"learner": [f"learner-{i:06d}" for i in range(n)], "answers": rng.poisson(12, n) + 1, "start": start}
    )


def test_all_learners_are_taken_where_they_fit_in() -> None:
    assert draw_sample(cohort(MAX_LEARNERS), max_answers=10**9) is None


def test_a_hundred_thousand_learners_end_in_a_stated_sample() -> None:
    """Every stratum gives its share to within one learner, and the numbers say so."""
    learners = cohort(100_000)
    sample = draw_sample(learners, max_answers=10**9)
    assert sample is not None
    assert len(sample.learners) == len(set(sample.learners)) == MAX_LEARNERS
    strata = sample.strata
    assert len(strata) == 12, "three terciles of activity by three of start ability and those without one"
    assert strata["learners"].sum() == 100_000
    assert (strata["drawn"] - strata["learners"] / 20).abs().max() < 1
    stated = sample.description
    assert (stated["learners"], stated["drawn"]) == (100_000, MAX_LEARNERS)
    assert stated["answers"] == learners["answers"].sum()
    assert "5,000 learners" in stated["reason"]
    drawn = learners[learners["learner"].isin(sample.learners)]
    assert drawn["answers"].mean() == pytest.approx(learners["answers"].mean(), rel=0.01)
    assert drawn["start"].mean() == pytest.approx(learners["start"].mean(), abs=0.02)


def test_answers_are_limited_too() -> None:
    """A fit takes its time by the answer: a few very active learners must not make it run for hours."""
    learners = cohort(1_000)
    sample = draw_sample(learners, max_answers=5_000)
    assert sample is not None
    taken = learners[learners["learner"].isin(sample.learners)]["answers"].sum()
    assert taken == pytest.approx(5_000, rel=0.03)
    assert "5,000 answers" in sample.description["reason"]


def test_the_same_learners_are_drawn_in_any_order_and_next_to_others() -> None:
    """A sample that changed from day to day would show growth where only the learners changed."""
    learners = cohort(20_000)
    first = draw_sample(learners, max_answers=10**9)
    shuffled = draw_sample(learners.sample(frac=1, random_state=3).reset_index(drop=True), max_answers=10**9)
    more = draw_sample(
        pd.concat([learners, cohort(400, 9).assign(learner=lambda f: "new-" + f["learner"])]).reset_index(drop=True),
        max_answers=10**9,
    )
    assert first is not None
    assert shuffled is not None
    assert more is not None
    assert set(first.learners) == set(shuffled.learners)
    assert len(set(first.learners) & set(more.learners)) > 0.95 * MAX_LEARNERS
