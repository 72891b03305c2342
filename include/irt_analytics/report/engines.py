"""What turns Quarto Markdown into HTML and PDF: Quarto, or pandoc and Typst. Both set the same page."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import pypandoc
import typst

from irt_analytics.errors import ConfigurationError
from irt_analytics.report import fonts
from irt_analytics.report.template import TEMPLATES

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "quarto", "pandoc"]
Format = Literal["html", "pdf"]


class RenderError(RuntimeError):
    """An engine refused a document of ours: a defect."""


class Engine(Protocol):
    """Renders a document that lies in a prepared folder."""

    def render(self, source: Path) -> dict[Format, Path]:
        """Render `source` (a .qmd file) beside itself and return the files."""

    def describe(self, output: Format) -> str:
        """Name and version of what makes a format."""


def prepare_folder(folder: Path) -> None:
    """Put the page templates, the layout filter and the style where the engines look for them."""
    for name in ("page.html", "page.typ", "layout.lua", "batch.lua"):
        shutil.copyfile(TEMPLATES / name, folder / name)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "style.html").write_text(f"<style>\n{style}</style>\n", encoding="utf-8")


def choose_engine(name: EngineName) -> Engine:
    """Return the engine of a REPORT_ENGINE; auto takes Quarto where it is installed.

    Raises:
        ConfigurationError: REPORT_ENGINE=quarto, and there is no quarto on PATH.
    """
    quarto = shutil.which("quarto")
    if name == "quarto" and quarto is None:
        raise ConfigurationError(
            "REPORT_ENGINE=quarto: there is no quarto on PATH; install it, or set REPORT_ENGINE to auto or pandoc"
        )
    return QuartoEngine(quarto) if name != "pandoc" and quarto is not None else PandocEngine()


@dataclass(frozen=True)
class PandocEngine:
    """pandoc writes HTML and Typst markup, Typst sets the PDF; both come with Python packages."""

    def render(self, source: Path) -> dict[Format, Path]:
        """Render `source` to HTML and PDF beside itself."""
        html, markup, pdf = (source.with_suffix(suffix) for suffix in (".html", ".typ", ".pdf"))
        common = [source.name, "--from=markdown", "--standalone", "--lua-filter=layout.lua", "--wrap=none"]
        page = ["--to=html5", "--template=page.html", "--include-in-header=style.html", "--toc", "--toc-depth=2"]
        _pandoc([*common, *page, f"--output={html.name}"], source.parent)
        _pandoc([*common, "--to=typst", "--template=page.typ", f"--output={markup.name}"], source.parent)
        compile_typst(markup, pdf)
        return {"html": html, "pdf": pdf}

    def render_batch(self, sources: Sequence[Path], advance: Callable[[], None]) -> dict[Path, dict[Format, Path]]:
        """Render many documents of one folder, each format in one process; `advance` is called after each document."""
        if not sources:
            return {}
        folder = sources[0].parent
        _pandoc_batch("html", [(source, source.with_suffix(".html")) for source in sources], folder)
        _pandoc_batch("typst", [(source, source.with_suffix(".typ")) for source in sources], folder)
        rendered: dict[Path, dict[Format, Path]] = {}
        for source in sources:
            pdf = source.with_suffix(".pdf")
            compile_typst(source.with_suffix(".typ"), pdf)
            rendered[source] = {"html": source.with_suffix(".html"), "pdf": pdf}
            advance()
        return rendered

    def describe(self, output: Format) -> str:
        """Name and version of what makes a format."""
        pandoc = f"pandoc {pypandoc.get_pandoc_version()}"
        return pandoc if output == "html" else f"{pandoc}, typst {version('typst')}"


@dataclass(frozen=True)
class QuartoEngine:
    """Quarto, with the pandoc and the Typst that it brings."""

    executable: str

    def render(self, source: Path) -> dict[Format, Path]:
        """Render `source` to HTML and PDF beside itself."""
        folder = source.parent.resolve()
        environment = os.environ | {
            "TYPST_FONT_PATHS": os.pathsep.join(map(str, fonts.folders())),
            "TYPST_IGNORE_SYSTEM_FONTS": "true",
            # A pod's home may not be writable.
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "XDG_DATA_HOME": str(folder / ".data"),
        }
        for output in ("html", "typst"):
            _run([self.executable, "render", source.name, "--to", output, "--quiet"], folder, environment)
        return {"html": source.with_suffix(".html"), "pdf": source.with_suffix(".pdf")}

    def describe(self, output: Format) -> str:  # noqa: ARG002 - one program makes both
        """Name and version of what makes a format."""
        return f"quarto {self._version}"

    @cached_property
    def _version(self) -> str:
        return _run([self.executable, "--version"], Path.cwd(), dict(os.environ)).strip()


def compile_typst(source: Path, output: Path) -> None:
    """Set Typst markup as PDF with the report's own fonts only.

    Raises:
        RenderError: Typst refuses the markup; carries its message.
    """
    try:
        _compiler(source.parent.resolve()).compile(input=str(source), output=str(output), format="pdf")
    except typst.TypstError as error:
        raise RenderError(f"typst, {source.name}: {error}") from None


@cache
def _compiler(root: Path) -> typst.Compiler:
    return typst.Compiler(root=str(root), font_paths=[str(path) for path in fonts.folders()], ignore_system_fonts=True)


def _pandoc(arguments: Sequence[str], folder: Path) -> None:
    _run([pypandoc.get_pandoc_path(), *arguments], folder, dict(os.environ))


def _pandoc_batch(output: Literal["html", "typst"], files: Sequence[tuple[Path, Path]], folder: Path) -> None:
    page = ["page.html", "layout.lua", "style.html"] if output == "html" else ["page.typ", "layout.lua"]
    lines = "".join(f"{source.name}\t{target.name}\n" for source, target in files)
    _run([pypandoc.get_pandoc_path(), "lua", "batch.lua", output, *page], folder, dict(os.environ), lines)


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], given: str | None = None) -> str:
    result = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if result.returncode != 0:
        said = f"{result.stdout}\n{result.stderr}".strip()[-2000:]
        raise RenderError(f"{Path(command[0]).name} ended with {result.returncode}: {said}")
    if result.stderr.strip():
        logger.warning("%s: %s", Path(command[0]).name, result.stderr.strip()[-2000:])
    return result.stdout
