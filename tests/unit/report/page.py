"""Reads a report's HTML as a person does: headings, tables, words."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


@dataclass
class Page(HTMLParser):
    """A report's page.

    Attributes:
        headings: texts of its headings, in order.
        tables: rows of each table by name, the header first; each cell a text.
        badges: texts of its badges.
        text: all that a reader sees, drawings apart, white space collapsed.
        labels: descriptions of its drawings.
        tags: names of all elements outside drawings.
        sources: what its elements link to or load.
    """

    html: str
    headings: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    badges: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._collecting: list[tuple[str, list[str]]] = []
        self._table = ""
        self._badge_depth = 0
        self._hidden = 0
        self.feed(self.html)
        self.close()
        self.text = _squeeze("".join(self._pieces))

    @classmethod
    def read(cls, path: Path | str) -> "Page":
        """Read a page from a file."""
        return cls(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        if tag in {"style", "svg", "title"}:
            self._hidden += 1
            if tag == "svg":
                self.labels.append(given["aria-label"])
        if self._hidden:
            return
        self.tags.add(tag)
        self.sources += [given[name] for name in ("src", "href") if name in given]
        if str(given.get("id", "")).startswith("table-"):
            self._table = given["id"].removeprefix("table-")
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in {"h1", "h2", "td", "th"}:
            self._collecting.append((tag, []))
        if tag == "div":
            if "badge" in str(given.get("class", "")).split():
                self._badge_depth = 1
                self._collecting.append(("badge", []))
            elif self._badge_depth:
                self._badge_depth += 1
        if tag in {"p", "div", "br", "tr", "td", "th", "h1", "h2", "li"}:
            self._add(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"style", "svg", "title"}:
            self._hidden -= 1
        if self._hidden:
            return
        if tag in {"h1", "h2", "td", "th"}:
            _, pieces = self._collecting.pop()
            text = _squeeze("".join(pieces))
            if tag in {"td", "th"}:
                self.tables[self._table][-1].append(text)
            else:
                self.headings.append(text)
        if tag == "div" and self._badge_depth:
            self._badge_depth -= 1
            if not self._badge_depth:
                self.badges.append(_squeeze("".join(self._collecting.pop()[1])))
        if tag in {"p", "div", "tr", "td", "th", "h1", "h2", "li"}:
            self._add(" ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._add(data)

    def _add(self, data: str) -> None:
        self._pieces.append(data)
        for _, pieces in self._collecting:
            pieces.append(data)


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, in order, as written."""
    return re.findall(r"[−+]?\d+(?:[.,]\d+)*", text)
