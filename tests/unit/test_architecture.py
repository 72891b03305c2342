"""Who may import whom.

Were an arrow to turn, a change in a report could break the Dag file, the engine could not be used in a notebook, and
the Dag processor would load pandas at every parse.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "include" / "irt_analytics"

#: What a part of the job package may import of the rest; a part is a module or folder of the package.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "params": set(),
    "settings": {"errors"},
    "irt": {"errors"},
    "db": {"errors", "settings"},
    "ingest": {"db", "errors", "progress", "settings", "cli"},
    "verify": {"db", "errors", "settings", "cli", "params", "runner"},
    "simulate": {"db", "errors", "progress", "runner", "settings", "cli"},
    "report": {"db", "errors", "irt", "params", "progress", "settings", "runner"},
    "runner": {"db", "errors", "params", "settings"},
    "clients": {"errors", "progress", "settings"},
    "jobs": {"cli", "clients", "db", "errors", "irt", "params", "progress", "report", "runner", "settings"},
    "demo": {"cli", "db", "errors", "settings"},
    "deploy": {"cli", "db", "demo", "errors", "settings"},
    "cli": {"errors", "params", "runner", "settings"},
}


def modules_under(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"no module under {folder}"
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports, anywhere in it."""
    package = path.relative_to(ROOT / "include").with_suffix("").parts if path.is_relative_to(ROOT / "include") else ()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: -node.level] if node.level else ()
            module = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    """Parts of the job package that a file imports."""
    names = [name.split(".") for name in imports_of(path)]
    parts = {name[1] for name in names if name[0] == "irt_analytics" and len(name) > 1}
    return {part for part in parts if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}


@pytest.mark.parametrize("folder", ["dags", "plugins"])
def test_what_airflow_parses_loads_no_statistics_and_no_job(folder: str) -> None:
    heavy = {"pandas", "numpy", "scipy", "numba", "sklearn", "matplotlib", "pyarrow", "irt_analytics"}
    offenders = {str(path.relative_to(ROOT)): heavy & top_level(path) for path in modules_under(ROOT / folder)}
    assert not {path: names for path, names in offenders.items() if names}


def test_plugins_do_not_depend_on_the_dag() -> None:
    assert not [path for path in modules_under(ROOT / "plugins") if "irt_analytics_daily" in top_level(path)]


def test_jobs_run_where_airflow_is_not_installed() -> None:
    offenders = [path for path in modules_under(PACKAGE) if top_level(path) & {"airflow", "irt_airflow"}]
    assert not offenders


def test_engine_needs_numerics_only() -> None:
    allowed = {"numpy", "scipy", "numba", "llvmlite", "pandas", "irt_analytics", *sys.stdlib_module_names}
    offenders = {path.name: top_level(path) - allowed for path in modules_under(PACKAGE / "irt")}
    assert not {path: names for path, names in offenders.items() if names}


def test_engine_reads_and_writes_nothing() -> None:
    doors = {"io", "json", "os", "pathlib", "pickle", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "urllib"}
    calls = {"open", "print", "read_csv", "read_parquet", "to_csv", "to_parquet", "savez", "load", "loadtxt"}
    offenders = {}
    for path in modules_under(PACKAGE / "irt"):
        found = doors & top_level(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name != "builder.load":  # llvmlite's instruction
                    found |= {name.rpartition(".")[2]} & calls
        if found:
            offenders[path.name] = found
    assert not offenders


def test_every_part_of_the_job_package_has_its_arrows() -> None:
    parts = {part_of(path) for path in modules_under(PACKAGE)} - {"__init__", "__main__"}
    assert parts == set(MAY_IMPORT)


def test_arrows_of_the_job_package_point_one_way() -> None:
    offenders = {}
    for path in modules_under(PACKAGE):
        part = part_of(path)
        if part in MAY_IMPORT:
            extra = parts_imported(path) - MAY_IMPORT[part] - {part}
            if extra:
                offenders[str(path.relative_to(PACKAGE))] = extra
    assert not offenders


def test_nothing_but_the_command_line_knows_the_jobs() -> None:
    offenders = [
        path
        for path in modules_under(PACKAGE)
        if part_of(path) not in ("jobs", "cli") and "irt_analytics.jobs" in path.read_text(encoding="utf-8")
    ]
    assert not offenders


def test_engine_command_line_and_settings_know_no_sql() -> None:
    """The engine works on arrays: a notebook without a database must be able to use it."""
    files = [path for path in modules_under(PACKAGE) if part_of(path) in ("irt", "cli", "params", "settings", "errors")]
    sql_files = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "include" / "sql").rglob("*.sql")}
    assert files
    assert sql_files
    texts = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not texts & sql_files


def test_the_command_line_starts_without_statistics() -> None:
    """A pod's start and `--help` would take seconds longer if pandas came along."""
    heavy = ("pandas", "numba", "scipy", "pyarrow", "airflow")
    program = (
        "import sys; from irt_analytics import cli; cli._group.list_commands(None); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
