"""Figures: the same data gives the same file, every character is there, nothing in an id is markup."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from tests.unit.report.cohort import HOSTILE_IDS
from tests.unit.report.test_bank import SOUND

from irt_analytics.report import figures
from irt_analytics.report.bank import review_items
from irt_analytics.report.facts import LearnerWeek, ThetaWeek
from irt_analytics.report.figures import Studio
from irt_analytics.report.texts import load_texts

MONDAYS = [date(2025, 11, 3) + timedelta(weeks=week) for week in range(13)]
WEEKS = [ThetaWeek(day, 40, 300, 0.1 + 0.02 * index, 0.05) for index, day in enumerate(MONDAYS)]


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, load_texts("en"))


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs of a day would differ in their files, and nobody could tell whether a number changed."""
    drawn = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        path = Studio(folder, load_texts("ko")).theta_trend(WEEKS)
        drawn.append((folder / path).read_bytes())
    assert drawn[0] == drawn[1]


def test_a_missing_glyph_fails(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader would find empty boxes in the figure."""
    monkeypatch.setattr(studio.texts, "__class__", _Hieroglyphs)
    with pytest.raises(UserWarning, match="missing from font"):
        studio.theta_trend(WEEKS)


class _Hieroglyphs(type(load_texts("en"))):  # type: ignore[misc]
    def __call__(self, key: str, **values: object) -> str:
        return "𓀀" if key == "axis.theta" else super().__call__(key, **values)


@pytest.mark.parametrize("dark", [figures.INK, figures.ACCENT, figures.ALERT])
@pytest.mark.parametrize("light", [figures.BAND, figures.LIGHT])
def test_lines_stand_out_from_bands_on_a_grey_printer(dark: str, light: str) -> None:
    """Schools print in grey. What is equally dark (a line, an alert) differs by its marker instead."""
    assert grey(light) - grey(dark) > 0.2


def grey(colour: str) -> float:
    """Luma of an #rrggbb colour, 0 black to 1 white (ITU-R BT.709)."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_ids_are_not_read_as_formulas(studio: Studio) -> None:
    """A dollar sign in an item's id would stop the report."""
    items = [
        replace(SOUND, item_id=name, b=index / 4, outfit=2.5)
        for index, name in enumerate(("$\\frac{1}{0}$", *HOSTILE_IDS))
    ]
    assert (studio.folder / studio.item_map(items, review_items(items))).stat().st_size > 1000
    curve = [{"theta": -1.0, "n": 40.0, "observed": 0.1}, {"theta": 1.0, "n": 40.0, "observed": 1.0}]
    drawn = [replace(item, curve=curve) for item in items[:4]]
    assert (studio.folder / studio.item_curves(drawn)).stat().st_size > 1000


def test_one_point_is_enough(studio: Studio) -> None:
    """A learner or cohort in its first week would get no report."""
    studio.theta_trend(WEEKS[:1])
    studio.learner_trend("learner", [LearnerWeek("a", MONDAYS[0], 0.1, 0.4, 5)], 1.5)


def test_text_is_drawn_as_paths(studio: Studio) -> None:
    """A reader without the report's fonts would see other letters than those on paper."""
    drawing = (studio.folder / studio.theta_trend(WEEKS)).read_text(encoding="utf-8")
    assert "<text" not in drawing
    assert figures.ACCENT in drawing
