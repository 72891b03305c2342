"""The report's texts: one catalogue a language, and how that language writes numbers and dates."""

import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from irt_analytics.report.fonts import require_glyphs
from irt_analytics.report.markup import visible

Lang = Literal["en", "ko"]

CATALOGUES = Path(__file__).parents[2] / "reports" / "weekly" / "texts"

#: Numbers, and days as in 2026-01-31.
_NUMBER = re.compile(r"\d{4}-\d\d-\d\d|\d+(?:[.,]\d+)*")

#: Characters shown of an error message or reason that the catalogue does not know.
LONGEST_SAYING = 400

NOTHING = "–"
MINUS = "\N{MINUS SIGN}"


class Texts:
    """One language's catalogue.

    Calling it with a key gives the entry with its placeholders filled. A number is written as a count, a date as a
    day, any other value as a visible text; decimal numbers are written by `number` or `percent` before. Where an entry
    has the forms `one` and `other`, the value named `count` chooses.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._entries = _load(lang)

    def __call__(self, key: str, **values: Any) -> str:
        """Return the entry `key`, filled.

        Raises:
            KeyError: there is no such entry.
        """
        entry = self._entries[key]
        if isinstance(entry, dict):
            entry = entry["one" if values["count"] == 1 else "other"]
        return entry.format_map({name: self._write(value) for name, value in values.items()})

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def said(self, text: str) -> str:
        """Return what a job said, in the report's words; what the catalogue does not know stays as it was said.

        The catalogue's group `said` has one entry a sentence, or a part of one between semicolons, its numbers and
        dates replaced by {}; the entry's value names them by position.
        """
        entry = self._entries.get(f"said.{_NUMBER.sub('{}', text)}")
        if isinstance(entry, str):
            return entry.format(*_NUMBER.findall(text))
        if "; " in text:
            return "; ".join(self.said(part) for part in text.split("; "))
        shown = visible(text)
        return shown if len(shown) <= LONGEST_SAYING else f"{shown[:LONGEST_SAYING]}…"

    def known(self, group: str, name: str) -> str:
        """Return the entry `group.name`, or `name` itself where the catalogue does not know it."""
        key = f"{group}.{name}"
        return self(key) if key in self else visible(name)

    def _write(self, value: Any) -> str:
        if isinstance(value, bool | float):
            raise TypeError(f"{value!r}: write it by number, percent or a text of its own")
        if isinstance(value, int):
            return self.count(value)
        if isinstance(value, date):
            return self.day(value)
        return str(value)

    def count(self, value: int) -> str:
        """Write a whole number."""
        return f"{value:,}".replace("-", MINUS)

    def number(self, value: float | None, decimals: int = 2, *, signed: bool = False) -> str:
        """Write a decimal number with a true minus; nothing for None and NaN."""
        if value is None or not math.isfinite(value):
            return NOTHING
        rounded = round(value, decimals) + 0.0  # -0.0 becomes 0.0
        return f"{rounded:{'+' if signed and rounded else ''},.{decimals}f}".replace("-", MINUS)

    def percent(self, share: float | None, decimals: int = 0) -> str:
        """Write a share as a percentage."""
        return NOTHING if share is None else self("format.percent", value=self.number(100 * share, decimals))

    def interval(self, lower: float | None, upper: float | None, decimals: int = 2, *, signed: bool = False) -> str:
        """Write an interval; nothing where an end is missing."""
        if lower is None or upper is None:
            return NOTHING
        ends = (self.number(end, decimals, signed=signed) for end in (lower, upper))
        return self("format.interval", **dict(zip(("lower", "upper"), ends, strict=True)))

    def day(self, day: date) -> str:
        """Write a day with its year."""
        return self._day("format.day", day)

    def short_day(self, day: date) -> str:
        """Write a day without its year."""
        return self._day("format.short_day", day)

    def _day(self, key: str, day: date) -> str:
        month = self(f"format.months.{day.month}")
        return self(key, day=str(day.day), month=month, year=str(day.year))

    def period(self, first: date, last: date) -> str:
        """Write a period of days."""
        if first == last:
            return self.day(first)
        if first.year != last.year:
            return self("document.period_of_two_years", start=first, end=last)
        ends = {"start": self.short_day(first), "end": self.short_day(last)}
        return self("document.period", year=str(last.year), **ends)

    def listed(self, parts: list[str]) -> str:
        """Join parts by the language's comma."""
        return self("format.comma").join(parts)


@cache
def load_texts(lang: Lang) -> Texts:
    """Return a language's catalogue."""
    return Texts(lang)


def _load(lang: Lang) -> dict[str, str | dict[str, str]]:
    path = CATALOGUES / f"{lang}.toml"
    entries = dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))
    for key, entry in entries.items():
        for form in entry.values() if isinstance(entry, dict) else (entry,):
            require_glyphs(form, f"{path.name}, {key}")
    return entries


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str | dict[str, str]]]:
    """Entries by dotted key; a table of the forms one and other is one entry."""
    found: list[tuple[str, str | dict[str, str]]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, str):
            found.append((key, value))
        elif set(value) == {"one", "other"}:
            found.append((key, dict(value)))
        else:
            found.extend(_flat(value, f"{key}."))
    return found
