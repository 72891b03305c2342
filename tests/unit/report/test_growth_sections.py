"""What the report says of growth, goals and topics: the numbers of the tables, or why there are none."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.test_outlook import charts, tables
from tests.unit.report.test_sections import AS_OF, QUIET, texts_of

from irt_analytics.report.document import Section
from irt_analytics.report.facts import Facts, GoalInDoubt, GrowthMeta, GrowthTenth, JobRun, TopicMeta
from irt_analytics.report.figures import Studio
from irt_analytics.report.sections import growth, topics
from irt_analytics.report.texts import Lang, load_texts

TEXTS = load_texts("en")


def population(slope: float, spread: float) -> list[dict[str, Any]]:
    return [
        {"term": "slope", "mean": slope, "lower": 0.02, "upper": 0.042, "sd": 0.005},
        {"term": "sd_slope", "mean": spread, "lower": 0.04, "upper": 0.07, "sd": 0.005},
    ]


SAMPLE = {"learners": 300, "of": 900, "updated": {"learners": 900, "population": population(0.041, 0.06)}}
META = GrowthMeta("success", None, 8, 300, 900, population(0.031, 0.05), SAMPLE, 1.012, 0, 1600)
DOUBT = [GoalInDoubt(f"u{n:02}", 0.49 - 0.01 * n, 0.2, -0.1, 0.5, 0.8, AS_OF + timedelta(days=20)) for n in range(27)]
GROWTH = replace(
    QUIET,
    growth_metas=[META],
    growth_tenths=[
        GrowthTenth("goal", 0, 10),
        GrowthTenth("goal", 9, 30),
        GrowthTenth("slope", 5, 100),
    ],
    goals_in_doubt=DOUBT,
)
TOPIC = TopicMeta(
    status="success",
    reason=None,
    n_learners=500,
    n_answers=20_000,
    sampled=True,
    item_term="random",
    converged=True,
    singular=False,
    fixed=[{"term": "week", "estimate": 0.021, "lower": 0.005, "upper": 0.037}],
    random=[],
    topics=[{"topic_id": f"t{n:02}", "effect": 0.1 * (15 - n), "se": 0.12, "n": 600} for n in range(30)],
)
TOPICS = replace(QUIET, topic_metas=[TOPIC])


@pytest.fixture(params=["en", "ko"])
def lang(request: pytest.FixtureRequest) -> Lang:
    found: Lang = request.param
    return found


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, TEXTS)


def test_growth_and_goals_are_those_of_the_tables(studio: Studio) -> None:
    """A teacher tells a class its chances by these numbers; those given all learners go before a sample's."""
    section = growth.section(GROWTH, TEXTS, studio)
    said = texts_of(section)
    assert "ability changed by +0.041 a week on average (95 % interval +0.020 to +0.042)" in said
    assert "standard deviation of 0.060" in said
    assert "largest R-hat 1.012, 0 divergent transitions" in said
    (chart,) = charts(section)
    assert chart.title == "75 % of 40 learners with a goal are more likely than not to reach it"
    table = tables(section)["goals"]
    assert len(table.rows) == growth.LISTED
    assert table.rows[0][:5] == ["u00", "49 %", "+0.20", "−0.10 to +0.50", "+0.80"]
    assert table.note == "2 more are in the table growth_learner."


def test_small_groups_are_not_drawn(studio: Studio) -> None:
    """Nine learners' chances are nine learners' names."""
    few = replace(GROWTH, growth_tenths=[GrowthTenth("goal", 3, 9), GrowthTenth("slope", 5, 40)], goals_in_doubt=[])
    (chart,) = charts(growth.section(few, TEXTS, studio))
    assert chart.title == "Of 40 learners without a goal, 100 % are more likely to grow than not"
    none = replace(few, growth_tenths=[GrowthTenth("goal", 3, 9)])
    assert not charts(growth.section(none, TEXTS, studio))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (QUIET, "No growth and no probabilities of goals: "),
        (
            replace(
                QUIET,
                growth_metas=[
                    replace(
                        META,
                        status="skipped",
                        population=None,
                        sample=None,
                        reason="9 learners with abilities in 3 weeks or more of the 8 up to 2026-03-01 (4 with fewer); "
                        "growth needs 50",
                    )
                ],
            ),
            "9 learners have abilities in 3 weeks or more of the 8 up to 2026-03-01 (4 have fewer); growth needs 50",
        ),
        (
            replace(
                QUIET, job_runs=[JobRun("fit_bayesian_growth", "failed", None, "chains disagree", 65, "3", {}, [])]
            ),
            "No growth and no probabilities of goals: chains disagree",
        ),
    ],
)
def test_without_growth_the_reason_stands_there(studio: Studio, facts: Facts, said: str) -> None:
    """An empty section would look as if nobody had a goal."""
    section = growth.section(facts, TEXTS, studio)
    assert said in texts_of(section)
    assert not charts(section)


def test_topics_are_those_of_the_fit(studio: Studio) -> None:
    """The hardest topic is what the next lesson is about."""
    section = topics.section(TOPICS, TEXTS, studio)
    said = texts_of(section)
    assert "Right answers became more likely: +0.021 log-odds a week (95 % interval +0.005 to +0.037)." in said
    (chart,) = charts(section)
    assert chart.title == "“t29” is the hardest topic for these learners, “t00” the easiest"
    assert "24 of 30 topics" in chart.note
    assert "against the average topic, after learner, week and item" in chart.note
    assert "stated sample of 500 learners with 20,000 answers" in said
    assert "did not converge" not in said
    assert "published" not in said


@pytest.mark.parametrize(
    ("lang", "message", "alt", "harder", "one_harder", "none_harder"),
    [
        (
            "en",
            "“fractions” is the hardest topic for these learners, “counting” the easiest",
            "How easy 4 of 4 topics are, with 95 % intervals; 3 of all differ from the average.",
            "2 topics are harder than the published difficulty of their items says, “counting” the most: "
            "−0.60 log-odds of a right answer (95 % interval −0.85 to −0.35).",
            "1 topic is harder than the published difficulty of its items says, “counting”: −0.60 log-odds",
            "No topic is clearly harder than the published difficulty of its items says.",
        ),
        (
            "ko",
            "이 학습자들에게 “fractions” 주제가 가장 어렵고 “counting” 주제가 가장 쉽습니다",
            "주제 4개 중 4개의 쉬운 정도와 95% 구간. 전체에서 3개가 평균과 다릅니다.",
            "주제 2개가 문항의 공개된 난이도보다 어려우며, “counting” 주제가 가장 그렇습니다: "
            "정답의 로그 승산 −0.60(95% 구간 −0.85 ~ −0.35).",
            "주제 1개가 문항의 공개된 난이도보다 어려우며, 그것은 “counting” 주제입니다: 정답의 로그 승산 −0.60",
            "문항의 공개된 난이도보다 뚜렷이 어려운 주제는 없습니다.",
        ),
    ],
    ids=["en", "ko"],
)
def test_the_hardest_topic_is_so_by_its_items_and_by_what_they_do_not_explain(
    tmp_path: Path, lang: Lang, message: str, alt: str, harder: str, one_harder: str, none_harder: str
) -> None:
    """Counting is less easy than published, and still the easiest: a lesson about it would help nobody."""
    planted = {"counting": (1.6, -0.6), "fractions": (-1.5, 0.4), "ratios": (-0.9, 0.5), "graphs": (0.4, -0.3)}
    effects = [
        {"topic_id": name, "effect": effect, "published": published, "se": 0.25 / 1.96, "n": 600}
        for name, (published, effect) in planted.items()
    ]
    texts = load_texts(lang)

    def section_of(found: list[dict[str, Any]]) -> Section:
        meta = replace(TOPIC, item_term="offset", topics=found)
        return topics.section(replace(QUIET, topic_metas=[meta]), texts, Studio(tmp_path, texts))

    section = section_of(effects)
    (chart,) = charts(section)
    # Against the average of -0.1: counting 1.1, graphs 0.2, ratios -0.3, fractions -1.0, each give or take 0.25.
    assert (chart.title, chart.alt) == (message, alt)
    assert harder in texts_of(section)
    known = [topic | {"effect": 0.0 if topic["topic_id"] == "graphs" else topic["effect"]} for topic in effects]
    assert one_harder in texts_of(section_of(known))
    assert none_harder in texts_of(section_of([topic | {"effect": 0.1} for topic in effects]))


def test_a_fit_to_doubt_is_doubted_in_words(studio: Studio) -> None:
    """Numbers of a fit that failed its checks look like any others."""
    week = {"term": "week", "estimate": -0.01, "lower": -0.03, "upper": 0.01}
    doubtful = replace(TOPIC, converged=False, singular=True, fixed=[week])
    said = texts_of(topics.section(replace(QUIET, topic_metas=[doubtful]), TEXTS, studio))
    assert "did not converge" in said
    assert "cannot tell all of the model’s variances apart" in said
    assert "cannot be told: −0.010 log-odds" in said
    skipped = replace(TOPIC, status="skipped", reason="one topic", fixed=None, topics=None)
    assert "No topic effects: one topic" in texts_of(
        topics.section(replace(QUIET, topic_metas=[skipped]), TEXTS, studio)
    )


def test_figures_are_drawn_in_both_languages(tmp_path: Path, lang: Lang) -> None:
    """A glyph missing from the font would end the report; in grey, likely and unlikely differ by their hatching."""
    texts = load_texts(lang)
    (chances,) = charts(growth.section(GROWTH, texts, Studio(tmp_path, texts)))
    (effects,) = charts(topics.section(TOPICS, texts, Studio(tmp_path, texts)))
    assert "<pattern" in (tmp_path / chances.path).read_text()
    assert (tmp_path / effects.path).stat().st_size > 1000
