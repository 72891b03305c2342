"""From a document to Quarto Markdown without executable cells."""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from irt_analytics.report.document import Align, Column, Document
from irt_analytics.report.fonts import require_glyphs
from irt_analytics.report.markup import Markdown, escape, to_markdown

TEMPLATES = Path(__file__).parents[2] / "reports" / "weekly"

_NAME = re.compile(r"[\w./-]+", re.ASCII)
_RULERS: dict[Align, str] = {"left": ":---", "right": "---:", "center": ":---:"}


def to_qmd(document: Document) -> str:
    """Return a document as Quarto Markdown.

    Raises:
        MissingGlyphError: a text has a character that the report's fonts lack.
    """
    text = _environment().get_template("report.qmd.j2").render(document=document)
    require_glyphs(text, f"report {document.title}")
    return text


@cache
def _environment() -> Environment:
    # The output is Markdown: HTML's escaping would be wrong; `finalize` escapes every value instead.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=to_markdown,
    )
    environment.filters |= {
        "name": _name,
        "anchor": lambda name: Markdown(f"{{#{_name(name)}}}"),
        "metadata": _metadata,
        "number": lambda value: Markdown(value),
        "widths": _widths,
        "ruler": lambda align: Markdown(_RULERS[align]),
    }
    return environment


def _name(text: str) -> Markdown:
    """Let a name of ours (an anchor, a path) through as it is; anything else has no business there."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain name")
    return Markdown(text)


def _metadata(text: str) -> Markdown:
    """Write a text as a YAML value; pandoc reads metadata as Markdown."""
    return Markdown(json.dumps(escape(text), ensure_ascii=False))


def _widths(columns: Sequence[Column]) -> Markdown:
    return Markdown(" ".join(str(column.width) for column in columns))
