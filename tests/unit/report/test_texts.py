"""The catalogues: a reader of either language gets the whole report, with numbers written as the language does."""

import re
import string
from datetime import date

import pandas as pd
import pytest

from irt_analytics.errors import Skip
from irt_analytics.jobs import fit_glmm, forecast_prophet
from irt_analytics.report.fonts import MissingGlyphError, require_glyphs
from irt_analytics.report.texts import Texts, load_texts

LANGUAGES = ("en", "ko")


def _placeholders(entry: "str | dict[str, str]") -> set[str]:
    forms = entry.values() if isinstance(entry, dict) else (entry,)
    return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name is not None}


@pytest.fixture(params=LANGUAGES)
def texts(request: pytest.FixtureRequest) -> Texts:
    return load_texts(request.param)


def test_both_languages_say_the_same_things() -> None:
    """A key or placeholder missing in one language would break that language's report, or drop a number from it."""
    english, korean = (load_texts(lang)._entries for lang in LANGUAGES)
    assert set(english) == set(korean)
    assert {key: _placeholders(entry) for key, entry in english.items()} == {
        key: _placeholders(entry) for key, entry in korean.items()
    }


def test_forms_of_a_plural_have_the_same_placeholders(texts: Texts) -> None:
    """A number would be missing from one form."""
    for key, entry in texts._entries.items():
        if isinstance(entry, dict):
            assert _placeholders(entry["one"]) == _placeholders(entry["other"]), key
            assert "count" in _placeholders(entry["one"]), key


def test_korean_texts_are_korean() -> None:
    """A text left in English would stand out in a Korean report."""
    same_in_both = re.compile(r"[\W\d_a-zA-Zθσ′·=±]*")
    allowed = {"document.footer", "scale.formula", "document.period", "document.period_of_two_years"}
    formal = (
        "format.",
        "methods.",
        "scale.drift.p",
        "learner.kpis.n",
        "bank.columns.rank",
        "badge.text",
        "provenance.detailed",
    )
    for key, entry in load_texts("ko")._entries.items():
        for form in entry.values() if isinstance(entry, dict) else (entry,):
            words = re.sub(r"\{\w+\}", "", form)
            if key not in allowed and not key.startswith(formal):
                assert not same_in_both.fullmatch(words), key


def test_every_text_can_be_printed() -> None:
    """A reader would see empty boxes."""
    with pytest.raises(MissingGlyphError, match=r"U\+13000"):
        require_glyphs("fine until 𓀀", "a text")
    require_glyphs("θ = −0.5 · 주간 보고서 … ₜ ± → ✓", "a text")


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "written"),
    [
        (0.126, 2, False, "0.13"),
        (-0.126, 2, False, "−0.13"),
        (0.126, 2, True, "+0.13"),
        (-0.001, 2, True, "0.00"),
        (1234.5, 1, False, "1,234.5"),
        (None, 2, False, "–"),
        (float("nan"), 2, False, "–"),
    ],
)
def test_numbers_are_written_with_a_true_minus_and_no_negative_zero(
    texts: Texts, value: float | None, decimals: int, signed: bool, written: str
) -> None:
    """-0.00 or a hyphen for a minus would make a reader doubt the sign."""
    assert texts.number(value, decimals, signed=signed) == written


def test_days_and_plurals_follow_the_language() -> None:
    """Dates in the wrong order and '1 learners' make a report look machine-made."""
    english, korean = (load_texts(lang) for lang in LANGUAGES)
    assert english.day(date(2026, 3, 2)) == "2 Mar 2026"
    assert korean.day(date(2026, 3, 2)) == "2026년 3월 2일"
    assert english.period(date(2025, 12, 29), date(2026, 1, 4)) == "29 Dec 2025 – 4 Jan 2026"
    assert korean.period(date(2026, 1, 26), date(2026, 1, 31)) == "2026년 1월 26일 – 1월 31일"
    assert english("learners.lead", count=1).startswith("1 learner stands")
    assert english("learners.lead", count=1200).startswith("1,200 learners stand")


def test_unformatted_numbers_are_refused(texts: Texts) -> None:
    """A float with sixteen digits would reach the page."""
    with pytest.raises(TypeError, match=r"0\.1"):
        texts("cards.active.alone", answers=0.1)


def test_what_jobs_say_is_translated_with_its_numbers() -> None:
    """A Korean teacher would read English reasons."""
    said = "fewer than 5 first attempts that count in the recent or the previous fortnight"
    assert load_texts("ko").said(said) == "두 2주 중 한쪽에서 인정되는 새 문항이 5개 미만"
    assert load_texts("ko").said("a reason nobody foresaw: 12") == "a reason nobody foresaw: 12"
    assert load_texts("en").said("x" * 500).endswith("x…")


def test_skips_of_the_models_are_said_in_korean() -> None:
    """The badge of a log that is too short must tell a Korean teacher what is missing."""
    days = (date(2026, 1, 5), date(2026, 6, 29))
    with pytest.raises(Skip) as mixed_model:
        fit_glmm._skip_small(pd.DataFrame({"learner": ["a"], "week": [0], "topic": ["t"], "item": ["i"]}))
    forecast = forecast_prophet._too_short(pd.DataFrame(columns=["series", "metric"]), *days)
    for reason in (str(mixed_model.value), forecast):
        said = load_texts("ko").said(reason)
        assert re.findall(r"[A-Za-z_]+", said.replace("I_t", "")) == [], said
        assert sorted(re.findall(r"\d+", said)) == sorted(re.findall(r"\d+", reason))
