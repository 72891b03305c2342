"""What the report says of the weeks to come and of learners who may leave: the numbers of the tables, or why none."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.report.test_sections import AS_OF, LAST_MONDAY, QUIET, texts_of

from irt_analytics.report.document import Chart, Section, Table
from irt_analytics.report.facts import AtRisk, ChurnMeta, Facts, ForecastMeta, ForecastWeek, JobRun, JudgedWeek
from irt_analytics.report.figures import Studio
from irt_analytics.report.sections import forecast, risk
from irt_analytics.report.texts import Lang, load_texts

TEXTS = load_texts("en")


def judged(series: str, metric: str, *, anomaly_at: int | None = None, weeks: int = 26) -> list[JudgedWeek]:
    return [
        JudgedWeek(
            series=series,
            metric=metric,
            week_start=LAST_MONDAY - timedelta(weeks=weeks - 1 - n),
            observed=0.1 if n != anomaly_at else 0.9,
            expected=0.12 if n >= 12 else None,
            sd=0.2 if n >= 12 else None,
            z=None if n < 12 else 3.9 if n == anomaly_at else -0.1,
            anomaly=n == anomaly_at,
            n_learners=40 + n,
        )
        for n in range(weeks)
    ]


def ahead(series: str, metric: str) -> list[ForecastWeek]:
    return [
        ForecastWeek(series, metric, LAST_MONDAY + timedelta(weeks=n), 0.2 + 0.01 * n, -0.1, 0.5, 0.8)
        for n in range(1, 5)
    ]


FORECAST = replace(
    QUIET,
    forecast_metas=[ForecastMeta("success", None, 3, 2.5)],
    forecast_weeks=[*ahead("cohort", "i_t"), *ahead("cohort", "theta"), *ahead("struggling", "theta")],
    judged_weeks=[
        *judged("cohort", "i_t"),
        *judged("cohort", "theta", anomaly_at=20),
        *judged("struggling", "theta", anomaly_at=25),
    ],
)
GROUPS = [
    {"predicted": p, "observed": p + 0.02, "lower": p - 0.05, "upper": min(1, p + 0.08), "n": 50}
    for p in (0.1, 0.3, 0.6, 0.9)
]
EVALUATION = {
    "auc": 0.78,
    "auc_lower": 0.74,
    "auc_upper": 0.81,
    "calibration_slope": 0.97,
    "calibration_slope_lower": 0.88,
    "calibration_slope_upper": 1.06,
    "n_test": 1200,
    "n_test_events": 400,
    "calibration": GROUPS,
}
AT_RISK = [AtRisk(f"u{n:02}", 0.9 - 0.01 * n, 0.8 - 0.01 * n, 0.95, AS_OF - timedelta(days=n), 7) for n in range(30)]
RISK = replace(QUIET, churn_metas=[ChurnMeta("success", None, 14, EVALUATION, 120)], learners_at_risk=AT_RISK)


@pytest.fixture(params=["en", "ko"])
def lang(request: pytest.FixtureRequest) -> Lang:
    found: Lang = request.param
    return found


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, TEXTS)


def tables(section: Section) -> dict[str, Table]:
    return {block.name: block for block in section.blocks if isinstance(block, Table)}


def charts(section: Section) -> list[Chart]:
    return [block for block in section.blocks if isinstance(block, Chart)]


def test_forecast_and_anomalies_are_those_of_the_tables(studio: Studio) -> None:
    """A teacher would prepare for another week, or ask after the wrong one."""
    section = forecast.section(FORECAST, TEXTS, studio)
    (chart,) = charts(section)
    assert chart.title == (
        "Mean ability is expected at +0.24 in the week of 16 Feb 2026, within −0.10 to +0.50 in 80 % of such weeks"
    )
    outlook = tables(section)["forecast"]
    assert [row[0] for row in outlook.rows] == ["All learners", "All learners", "Struggling"]
    assert outlook.rows[0][2:4] == ["+0.10", "+0.24"]
    anomalies = tables(section)["anomalies"]
    assert anomalies.title == "Weeks that stood out: 2 of 42"
    assert [row[:2] for row in anomalies.rows] == [
        ["19 Jan 2026", "Struggling"],
        ["15 Dec 2025", "All learners"],
    ]
    assert anomalies.rows[1][3:] == ["+0.90", "+0.12", "+3.9", "60"]


def test_a_value_of_three_weeks_ago_is_not_that_of_last_week(studio: Studio) -> None:
    """After a holiday the newest value may be a month old; a teacher would take it for the class of today."""
    away = [week for week in FORECAST.judged_weeks if week.metric == "i_t" or week.week_start <= AS_OF - timedelta(21)]
    rows = tables(forecast.section(replace(FORECAST, judged_weeks=away), TEXTS, studio))["forecast"].rows
    assert [row[2] for row in rows] == ["+0.10", "–", "–"]


def test_figures_draw_what_stands_out(tmp_path: Path, lang: Lang) -> None:
    """In grey too: an anomaly is a diamond of its own colour, the forecast a hatched band."""
    section = forecast.section(FORECAST, load_texts(lang), Studio(tmp_path, load_texts(lang)))
    plain = replace(FORECAST, judged_weeks=[replace(week, anomaly=False) for week in FORECAST.judged_weeks])
    drawn = (tmp_path / charts(section)[0].path).read_text()
    (tmp_path / "plain").mkdir()
    without = forecast.section(plain, load_texts(lang), Studio(tmp_path / "plain", load_texts(lang)))
    assert "#b4491c" in drawn
    assert "#b4491c" not in (tmp_path / "plain" / charts(without)[0].path).read_text()
    assert "<pattern" in drawn


def test_a_calm_past_is_said_to_be_calm(studio: Studio) -> None:
    """A list without entries would leave the reader guessing."""
    calm = replace(FORECAST, judged_weeks=judged("cohort", "theta"), forecast_weeks=ahead("cohort", "theta"))
    section = forecast.section(calm, TEXTS, studio)
    assert "None of 14 past weeks stood out." in texts_of(section)
    assert "anomalies" not in tables(section)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (QUIET, "No forecast: "),
        (
            replace(QUIET, forecast_metas=[ForecastMeta("skipped", "7 weeks; a forecast needs 16", 0, 2.5)]),
            "No forecast: 7 weeks; a forecast needs 16",
        ),
        (
            replace(QUIET, job_runs=[JobRun("forecast_prophet", "failed", None, "service away", 75, "3", {}, [])]),
            "No forecast: service away",
        ),
    ],
)
def test_without_a_forecast_the_reason_stands_there(studio: Studio, facts: Facts, said: str) -> None:
    """An empty section would look like a calm future."""
    section = forecast.section(facts, TEXTS, studio)
    assert said in texts_of(section)
    assert not charts(section)


def test_learners_at_risk_are_listed_with_how_sure_that_is(studio: Studio) -> None:
    """A risk without its interval, or a list without the count of the rest, misleads whoever calls these learners."""
    section = risk.section(RISK, TEXTS, studio)
    table = tables(section)["risk"]
    assert len(table.rows) == risk.LISTED
    assert table.rows[0][:3] == ["u00", "90 %", "80 % to 95 %"]
    assert table.note == "5 more are in the table survival_risk."
    assert "30 of 120 active learners are more likely than not" in texts_of(section)
    (chart,) = charts(section)
    assert "78 % of cases" in chart.title
    assert "AUC 0.78 (0.74 to 0.81), calibration slope 0.97 (0.88 to 1.06" in chart.note


def test_risks_that_could_not_be_judged_say_so(studio: Studio) -> None:
    """Forecasts nobody could check must not look like checked ones."""
    unjudged = replace(RISK, churn_metas=[ChurnMeta("success", None, 14, {"reason": "9 absences in 40 rows"}, 120)])
    section = risk.section(unjudged, TEXTS, studio)
    assert "could not be told: 9 absences in 40 rows" in texts_of(section)
    assert not charts(section)
    nobody = replace(RISK, learners_at_risk=[])
    assert "risk" not in tables(risk.section(nobody, TEXTS, studio))
    skipped = replace(QUIET, churn_metas=[ChurnMeta("skipped", "the log covers 46 days", 14, None, 0)])
    assert "No forecast of who stays away: the log covers 46 days" in texts_of(risk.section(skipped, TEXTS, studio))


def test_the_calibration_picture_is_drawn_in_both_languages(tmp_path: Path, lang: Lang) -> None:
    """A glyph missing from the font would end the report."""
    section = risk.section(RISK, load_texts(lang), Studio(tmp_path, load_texts(lang)))
    assert (tmp_path / charts(section)[0].path).stat().st_size > 1000
