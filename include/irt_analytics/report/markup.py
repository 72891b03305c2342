"""Pandoc Markdown that says what was meant: data can never become markup."""

import re
import string
import unicodedata

from irt_analytics.report.fonts import is_printable

_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")


class Markdown(str):
    """Text that is markup already; everything else is escaped when it reaches a template."""

    __slots__ = ()


def visible(text: str) -> str:
    """Write what cannot be seen as [U+XXXX]: controls, line breaks, spaces at an end, and characters without a glyph.

    Ids come from other systems and may hold anything; a reader must be able to tell two of them apart on paper.
    """
    text = unicodedata.normalize("NFC", text)
    inner = text.strip(" ")
    start = len(text) - len(text.lstrip(" "))
    left, right = (start, len(text) - start - len(inner)) if inner else (len(text), 0)
    shown = "".join(
        character if is_printable(character) and (character == " " or not character.isspace()) else _code(character)
        for character in inner
    )
    return _code(" ") * left + shown + _code(" ") * right


def _code(character: str) -> str:
    return f"[U+{ord(character):04X}]"


def escape(text: str) -> Markdown:
    """Escape a text for pandoc's Markdown, in which any ASCII punctuation may be escaped by a backslash."""
    return Markdown(_PUNCTUATION.sub(r"\\\1", text))


def linked(text: str, path: str) -> Markdown:
    """Return a text as a link to a file of ours, by its path relative to the page."""
    return Markdown(f"[{escape(text)}](<{path}>)")


def to_markdown(value: object) -> Markdown:
    """Return a template's value as Markdown: marked-up text as it is, any other text escaped.

    Raises:
        TypeError: the value is a number or None, which must be formatted by the catalogue first.
    """
    if isinstance(value, Markdown):
        return value
    if isinstance(value, str):
        return escape(value)
    raise TypeError(f"{value!r} reached the template unformatted")
