"""Escaping: whatever an id holds, the reader sees that id, and nothing of it acts."""

import json
import subprocess
from datetime import date

import pypandoc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.report.cohort import HOSTILE_IDS

from irt_analytics.report.document import Column, Document, Section, Table, Words
from irt_analytics.report.markup import Markdown, escape, to_markdown, visible
from irt_analytics.report.template import to_qmd

IDS = st.text(
    st.one_of(st.characters(), st.sampled_from("\\`*_{}[]()#+-.!|<>~^$@&:;\"'=%/?, \n\t김θ🦄")), min_size=1, max_size=30
)


def _pandoc(text: str, output: str) -> str:
    command = [pypandoc.get_pandoc_path(), "--from=markdown", f"--to={output}", "--wrap=none"]
    return subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def _cells(qmd: str) -> list[str]:
    """Texts of a document's table cells as pandoc understands them; markup in a cell fails."""
    cells: list[str] = []

    def inlines(parts: list[dict[str, object]]) -> str:
        said = []
        for part in parts:
            assert part["t"] in {"Str", "Space"}, f"a cell holds {part['t']}: {part}"
            said.append(str(part["c"]) if part["t"] == "Str" else " ")
        return "".join(said)

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if node.get("t") == "Table":
                for body in node["c"][4]:
                    for row in body[3]:
                        cells.extend("".join(inlines(block["c"]) for block in cell[4]) for cell in row[1])
                return
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(_pandoc(qmd, "json"))["blocks"])
    return cells


def _document(ids: list[str]) -> Document:
    table = Table("ids", "Ids", [Column("id")], [[visible(name)] for name in ids])
    words = [Words(visible(name)) for name in ids]
    return Document(
        "en", "kicker", visible(ids[0]), "subtitle", "footer", date(2026, 1, 31), [Section("s", "S", [table, *words])]
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=40))
def test_any_id_reaches_the_page_as_it_is(ids: list[str]) -> None:
    """An id could make a heading, a formula, a link or code, or end its table."""
    expected = [" ".join(visible(name).split(" ")) for name in ids]
    assert [cell.replace("\u00a0", " ") for cell in _cells(to_qmd(_document(ids)))] == [
        " ".join(name.split()) for name in expected
    ]


def test_hostile_ids_reach_the_page_as_they_are() -> None:
    """The ids that a test of the whole report uses, each understood by pandoc as plain text."""
    assert _cells(to_qmd(_document(list(HOSTILE_IDS)))) == [visible(name) for name in HOSTILE_IDS]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two[U+000A]lines"),
        ("🦄", "[U+1F984]"),
        (" a ", "[U+0020]a[U+0020]"),
        ("a\u200bb", "a[U+200B]b"),
        ("\u202eabc", "[U+202E]abc"),
        ("no\u00a0break", "no[U+00A0]break"),
        ("김민수 θ", "김민수 θ"),
        ("  ", "[U+0020][U+0020]"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text: str, shown: str) -> None:
    """Two ids that differ by an invisible character would look the same on paper."""
    assert visible(text) == shown


def test_no_shortcode_or_cell_of_quarto_survives() -> None:
    """An id could make Quarto include a file or run code."""
    for text in ("{{< include /etc/passwd >}}", "```{python}\nimport os\n```", "---\nfilters: [evil.lua]\n---"):
        escaped = escape(visible(text))
        assert "{{<" not in escaped
        assert "```" not in escaped
        assert "\n" not in escaped


def test_a_value_that_nobody_formatted_is_refused() -> None:
    """A raw number or None would reach the page."""
    assert to_markdown(Markdown("*x*")) == "*x*"
    for value in (0.1, None, 3):
        with pytest.raises(TypeError):
            to_markdown(value)
