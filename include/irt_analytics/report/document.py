"""What a report is made of: sections of cards, charts, tables and words, free of any output format."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

Align = Literal["left", "right", "center"]
Level = Literal["act", "watch", "good", "note"]


@dataclass(frozen=True)
class Words:
    """A paragraph. `kind`: plain, lead (opens a section) or small (how to read, where from)."""

    text: str
    kind: Literal["plain", "lead", "small"] = "plain"
    template: ClassVar[str] = "words"


@dataclass(frozen=True)
class Card:
    """A headline number, what it counts, and what lies behind it."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Cards:
    """A row of headline numbers."""

    cards: Sequence[Card]
    template: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Badge:
    """Something that the reader must not overlook, with its reason."""

    level: Level
    word: str
    text: str
    action: str = ""


@dataclass(frozen=True)
class Badges:
    """A list of badges."""

    badges: Sequence[Badge]
    template: ClassVar[str] = "badges"


@dataclass(frozen=True)
class Chart:
    """A figure: its message, a description for those who cannot see it, its file, and how to read it."""

    title: str
    alt: str
    path: str
    note: str
    template: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Column:
    """A table's column; `width` in percent of the text's width, 0 where the contents decide."""

    label: str
    align: Align = "left"
    width: int = 0


@dataclass(frozen=True)
class Table:
    """A table with a title of its own."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
    template: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: {len(row)} cells in a row of {len(self.columns)} columns: {row}")
        if len({column.width == 0 for column in self.columns}) > 1:
            raise ValueError(f"table {self.name}: give every column a width or none")


Block = Words | Cards | Badges | Chart | Table


@dataclass(frozen=True)
class Section:
    """A section; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report, ready for an engine. `contents` is the heading of its table of contents; without one it has none."""

    lang: str
    kicker: str
    title: str
    subtitle: str
    footer: str
    date: date
    sections: Sequence[Section]
    contents: str = ""
