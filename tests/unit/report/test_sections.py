"""What the report says of a week: each change that matters is said once, with its number, and nothing else is."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.test_bank import SOUND

from irt_analytics.report.document import Badge, Badges, Cards, Chart, Column, Section, Table
from irt_analytics.report.facts import (
    Activity,
    Facts,
    Fit,
    Flagged,
    GrowthWeek,
    JobRun,
    KpiGap,
    KpiWeek,
    QualityMeta,
    SegmentMove,
    ThetaWeek,
)
from irt_analytics.report.figures import Studio
from irt_analytics.report.sections import bank, changes, kpis, limits, summary, trend
from irt_analytics.report.texts import load_texts

TEXTS = load_texts("en")
AS_OF, MONDAY = date(2026, 1, 31), date(2026, 1, 26)
LAST_MONDAY = MONDAY - timedelta(weeks=1)

FIT = Fit(
    role="current",
    run_id="run",
    as_of=AS_OF,
    window_start=AS_OF - timedelta(days=29),
    window_end=AS_OF,
    window_extended=False,
    window_reason=None,
    model="2PL",
    engine="native",
    engine_version="3",
    data_fingerprint="f",
    n_persons=100,
    n_items=30,
    n_responses=3000,
    converged=True,
    iterations=20,
    log_likelihood=-1.0,
    aic=2.0,
    bic=3.0,
    latent_mean=0.0,
    latent_sd=1.0,
    se_method="full",
    priors="none",
    exclusions=[],
    linking_constants={"A": 1.01, "B": 0.02, "method": "stocking_lord", "n_anchors_used": 5},
    reason=None,
)
#: A week in which nothing changed.
QUIET = Facts(
    tenant="default",
    as_of=AS_OF,
    job_runs=[JobRun(job, "success", None, None, 0, "3", {}, []) for job in summary.CHAIN],
    fits=[FIT],
    items=[SOUND],
    items_before=[SOUND],
    abilities=[],
    theta_weeks=[],
    kpi_weeks=[],
    kpi_gaps=[],
    growth_weeks=[],
    activity=[Activity(AS_OF - timedelta(days=7), 100, 900, 500), Activity(AS_OF, 101, 950, 510)],
    flagged=[],
    flagged_before=[],
    segment_metas=[],
    segment_sizes=[],
    segment_moves=[],
)
FLAGGED = Flagged("ann", ["gone_quiet"], 0.1, None, None, None, None, 0, AS_OF - timedelta(days=15))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, TEXTS)


def badges_of(section: Section) -> list[Badge]:
    return [badge for block in section.blocks if isinstance(block, Badges) for badge in block.badges]


def texts_of(section: Section) -> str:
    return " ".join(
        str(getattr(block, name))
        for block in section.blocks
        for name in ("text", "title", "note")
        if hasattr(block, name)
    )


def test_a_quiet_week_is_said_to_be_quiet(studio: Studio) -> None:
    """A report that cries every week is not read."""
    section = changes.section(QUIET, TEXTS, studio)
    assert badges_of(section) == []
    assert "Nothing stands out against last week." in texts_of(section)
    assert summary.job_badges(QUIET, TEXTS) == []


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"flagged": [FLAGGED]}, "act", "1 learner newly needs a look: ann."),
        (
            {"flagged": [replace(FLAGGED, user_id=f"u{n}") for n in range(8)]},
            "act",
            "8 learners newly need a look: u0, u1, u2, u3, u4 and 3 more.",
        ),
        (
            {"activity": [QUIET.activity[0], Activity(AS_OF, 85, 800, 500)]},
            "act",
            "Active learners fell by 15 %: 85 in the last 7 days after 100 in the 7 days before.",
        ),
        (
            {"activity": QUIET.activity[:1]},
            "act",
            "Active learners fell by 100 %: 0 in the last 7 days after 100 in the 7 days before.",
        ),
        (
            {"activity": [QUIET.activity[0], Activity(AS_OF, 115, 800, 500)]},
            "good",
            "Active learners rose by 15 %: 115 in the last 7 days after 100 in the 7 days before.",
        ),
        (
            {"growth_weeks": [GrowthWeek(MONDAY, 50, 0.084, 0.1, 7, 2)]},
            "good",
            "Ability changed by +0.08 on average over the last fortnight; "
            "of 50 learners 7 clearly grew and 2 clearly declined.",
        ),
        (
            {"growth_weeks": [GrowthWeek(MONDAY, 50, -0.084, 0.1, 2, 7)]},
            "watch",
            "Ability changed by −0.08 on average over the last fortnight; "
            "of 50 learners 7 clearly declined and 2 clearly grew.",
        ),
        (
            {"items": [replace(SOUND, outfit=2.4)]},
            "act",
            "1 item newly needs a review: sound.",
        ),
        (
            {"items_before": [replace(SOUND, status="provisional")]},
            "good",
            "1 item has enough answers to count: sound.",
        ),
        ({"items_before": []}, "note", "1 item is calibrated; there is no bank of a week ago to compare with."),
        ({"fits": [], "items": []}, "act", "No items are calibrated yet, so nothing can be said about ability."),
        (
            {"fits": [replace(FIT, linking_constants=dict(FIT.linking_constants or {}, B=-0.31))]},
            "watch",
            "This calibration stood away from the published scale before it was linked (A = 1.01, B = −0.31).",
        ),
        (
            {"fits": [replace(FIT, window_extended=True, window_start=date(2025, 12, 1))]},
            "watch",
            "Recent answers were too few to calibrate, so the window reaches back from 31 Jan 2026 to 1 Dec 2025.",
        ),
        (
            {"segment_moves": [SegmentMove("efficient", "struggling", 12), SegmentMove("efficient", "improving", 9)]},
            "watch",
            "12 learners moved from Efficient to Struggling.",
        ),
    ],
)
def test_a_change_is_said_once_with_its_number(change: dict[str, Any], level: str, said: str, studio: Studio) -> None:
    """A teacher would miss it, or read a wrong number."""
    (badge,) = badges_of(changes.section(replace(QUIET, **change), TEXTS, studio))
    assert badge.level == level
    assert badge.text == said
    assert badge.action


def test_what_to_act_on_comes_first(studio: Studio) -> None:
    """A reader who stops early must have read what matters."""
    facts = replace(QUIET, items_before=[], flagged=[FLAGGED], growth_weeks=[GrowthWeek(MONDAY, 50, 0.1, 0.1, 7, 2)])
    assert [badge.level for badge in badges_of(changes.section(facts, TEXTS, studio))] == ["act", "good", "note"]


def test_changes_of_small_groups_are_not_told(studio: Studio) -> None:
    """Nine learners' mean says something of each of them."""
    facts = replace(
        QUIET,
        growth_weeks=[GrowthWeek(MONDAY, 9, 0.5, 0.1, 7, 2)],
        activity=[Activity(AS_OF - timedelta(days=7), 9, 90, 50)],
    )
    assert badges_of(changes.section(facts, TEXTS, studio)) == []


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (0.1, 0.4, "Mean ability rose by 0.30 since 19 Jan 2026, to +0.40"),
        (0.4, 0.1, "Mean ability fell by 0.30 since 19 Jan 2026, to +0.10"),
        (0.1, 0.2, "Mean ability held steady since 19 Jan 2026; it is now +0.20"),
    ],
)
def test_the_trend_is_told_only_beyond_its_error(first: float, last: float, message: str, studio: Studio) -> None:
    """Noise would be announced as progress."""
    weeks = [ThetaWeek(LAST_MONDAY, 50, 400, first, 0.06), ThetaWeek(MONDAY, 50, 400, last, 0.06)]
    assert message in texts_of(trend.section(replace(QUIET, theta_weeks=weeks), TEXTS, studio))


def test_the_kpi_that_moved_most_is_in_the_title(studio: Studio) -> None:
    """The figure's title would point at the wrong panel."""
    weeks = [
        KpiWeek(start, kpi, 100, 90, low, median, high)
        for start, moves in ((LAST_MONDAY - timedelta(weeks=1), 0), (LAST_MONDAY, 0), (MONDAY, 1))
        for kpi, low, median, high in (
            ("i_t", -0.001, 0.001 - 0.002 * moves, 0.001),
            ("a_t", 0.3, 0.5 - 0.06 * moves, 0.7),
            ("e_t", -0.1, 0.0, 0.1),
            ("r_t", 0.4, 0.5 + 0.01 * moves, 0.6),
        )
    ]
    section = kpis.section(replace(QUIET, kpi_weeks=weeks), TEXTS, studio)
    assert "Activity fell most: the median is down 0.06 to 0.44" in texts_of(section)


def test_what_the_log_does_not_record_is_said(studio: Studio) -> None:
    """A reader would take a missing number for a bad one."""
    facts = replace(
        QUIET,
        kpi_weeks=[
            KpiWeek(MONDAY, kpi, 50, n, None, None, None)
            for kpi, n in (("i_t", 0), ("i_t_accuracy", 12), ("a_t", 50), ("e_t", 0), ("r_t", 20))
        ],
        kpi_gaps=[
            KpiGap("a_t_dropped", "hints_per_attempt", 50),
            KpiGap("a_t_dropped", "median_session_seconds", 1),
            KpiGap("e_t", "response times are not recorded", 50),
        ],
    )
    section = limits.section(facts, TEXTS, studio)
    said = [badge.text for badge in badges_of(section)]
    assert said == [
        "Hints: not recorded for 50 learners. Their activity does without it; its other parts weigh more.",
        "Length of sessions: not recorded for 1 learner. The learner’s activity does without it; its other parts weigh "
        "more.",
        "Growth in θ cannot be told for any learner this week; the reasons are below.",
        "Efficiency cannot be told for any learner this week; the reasons are below.",
        "Growth of 12 learners could only be told by accuracy, not on the scale of ability; it is kept apart.",
        "The log has 1 week of answers: trends over time mean little yet.",
    ]
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert table.rows == [["Efficiency", "the log has no response times", "50"]]


def test_a_mean_of_growth_that_was_assumed_is_not_shown(studio: Studio) -> None:
    """Of fewer than 20 learners the mean is taken as 0: a card of +0.00 would read as measured."""
    for n, shown in ((19, "not shown: fewer than 20 learners"), (20, "20 learners measured")):
        facts = replace(QUIET, growth_weeks=[GrowthWeek(MONDAY, n, 0.0, 0.3, 0, 0)])
        (cards,) = (block for block in summary.section(facts, TEXTS, studio).blocks if isinstance(block, Cards))
        (card,) = (card for card in cards.cards if card.label == TEXTS("cards.growth.label"))
        assert shown in card.note
        told = [badge.text for badge in badges_of(changes.section(facts, TEXTS, studio))]
        assert any("over the last fortnight" in text for text in told) == (n == 20)


def test_a_table_with_a_missing_cell_is_refused() -> None:
    """Every number after it would stand in the wrong column."""
    with pytest.raises(ValueError, match="1 cells in a row of 2 columns"):
        Table("t", "T", [Column("a"), Column("b")], [["1"]])


def test_odd_items_are_drawn_and_their_reasons_said(studio: Studio) -> None:
    """An editor would see that an item is listed, and not what is odd about it."""
    curve = [{"theta": theta, "n": 50.0, "observed": 0.3, "expected": 0.5} for theta in (-1.0, 0.0, 1.0)]
    items = [
        replace(SOUND, item_id="flat curve", fit_p=0.001, rmsd=0.2, curve=curve),
        replace(SOUND, item_id="leaked", shift=0.93, shifted=True, curve=curve),
        replace(SOUND, item_id="first of two", depends_on=["second of two"], curve=curve),
    ]
    meta = QualityMeta(40, 1, 780, 1, 900, 63, date(2026, 1, 17), 40, 1, None)
    section = bank.section(replace(QUIET, items=items, quality_metas=[meta]), TEXTS, studio)
    said = texts_of(section)
    assert "Answers to 1 of 40 items leave its curve beyond chance." in said
    assert "Of 780 pairs of items 1 goes together more than ability explains." in said
    assert "1 of 40 items was easier or harder from 17 Jan 2026 on for equally able learners." in said
    assert "7.0 % of 900 learners" in said
    drawn = next(block for block in section.blocks if isinstance(block, Chart) and block.path == "item-curves.svg")
    assert drawn.alt.endswith("flat curve, leaked, first of two.")
    rows = {row[1]: row[-1] for block in section.blocks if isinstance(block, Table) for row in block.rows}
    assert rows["flat curve"].startswith("Right answers do not rise with ability as its curve says")
    assert rows["leaked"].startswith("Became easier within the window by 0.93 logits")
    assert rows["first of two"].startswith("Goes together with second of two:")


def test_why_items_could_not_be_compared_is_said(studio: Studio) -> None:
    """A reader would take no shifted item for stable items."""
    reason = "80 and 80 learners in the halves of the window; 100 are needed in each"
    meta = QualityMeta(40, 0, 780, 0, 80, 3, date(2026, 1, 17), 0, 0, reason)
    said = texts_of(bank.section(replace(QUIET, quality_metas=[meta]), TEXTS, studio))
    assert "could not be told: 80 and 80 learners answered in the halves of the window; 100 are needed in each" in said
