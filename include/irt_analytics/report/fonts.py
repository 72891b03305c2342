"""The report's fonts: files that come with packages, the same for figures and PDF, in both languages."""

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fontTools.ttLib import TTFont

#: NanumGothic has Latin and Hangul; DejaVu Sans fills in a few signs (the true minus, the check mark) and scripts.
FAMILIES = ("NanumGothic", "DejaVu Sans")


def _package_folder(package: str) -> Path:
    # Found, not imported: importing koreanize_matplotlib changes matplotlib's settings.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"package {package}, which brings a font of the report, is not installed")
    return Path(spec.submodule_search_locations[0])


@cache
def folders() -> tuple[Path, ...]:
    """Return the folders that hold the report's font files."""
    return (
        _package_folder("koreanize_matplotlib") / "fonts",
        _package_folder("matplotlib") / "mpl-data" / "fonts" / "ttf",
    )


@cache
def files() -> tuple[Path, ...]:
    """Return the report's font files: the regular and bold weights of its families."""
    names = ("NanumGothic.ttf", "NanumGothicBold.ttf"), ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
    return tuple(folder / name for folder, group in zip(folders(), names, strict=True) for name in group)


@cache
def _covered() -> frozenset[int]:
    """Code points that some family has in both weights."""
    nanum, nanum_bold, dejavu, dejavu_bold = (set(TTFont(path, lazy=True).getBestCmap()) for path in files())
    return frozenset((nanum & nanum_bold) | (dejavu & dejavu_bold))


def is_printable(character: str) -> bool:
    """Whether the fonts have a glyph for a character that is neither a control nor a mark of layout."""
    return ord(character) in _covered() and unicodedata.category(character)[0] != "C"


class MissingGlyphError(ValueError):
    """A text of the report has a character that its fonts cannot show."""


def require_glyphs(text: str, where: str) -> None:
    """Check that the fonts can show a text.

    Raises:
        MissingGlyphError: names the characters and where they stand.
    """
    missing = sorted(character for character in set(text) - {"\n"} if not is_printable(character))
    if missing:
        shown = ", ".join(f"{character} (U+{ord(character):04X})" for character in missing)
        raise MissingGlyphError(f"{where}: no glyph in {' or '.join(FAMILIES)} for {shown}")
